"""Distribution of work over the machines of a Ray cluster.

    connect.py    joins a cluster
    probe.py      checks its machines
    work.py       function of a worker, and its errors
    worker.py     process that runs on a machine
    machines.py   assigns items to the workers and collects their results

Nothing here depends on images or embeddings. Only Ray's core is used.
"""
