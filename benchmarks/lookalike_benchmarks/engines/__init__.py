"""Other engines and ours behind one small shape, each in a process, and for others in an environment, of its own.

The modules of this folder run in those environments: beside the engine they
may import numpy and each other, nothing else.
"""
