"""Work on the machines of a Ray cluster: who is there, what they run, and what comes back.

`connect.py` joins a cluster, `probe.py` looks at its machines, `worker.py` is
what runs there, and `machines.py` gives the workers items and takes their
results. Nothing here knows of images or embeddings. Only Ray's core is used.
"""
