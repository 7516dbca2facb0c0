"""Search engines with one interface, each in a process of its own; peers also in an environment of their own.

    shape.py        the interface of an engine
    catalog.py    the peers and their packages
    process.py      the process of an engine; ports.py finds free ports
    lookalike_local.py, lookalike_served.py    Lookalike in a process, and as a service
    exact.py        numpy, the baseline

Every other module is a peer. Modules run in the peer's environment: besides the engine they may
import only numpy and each other.
"""
