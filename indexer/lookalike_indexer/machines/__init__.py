"""Distribution of work over the machines of a Ray cluster.

    connect.py          joins a cluster
    probe.py            checks its machines
    limits.py           limits of time and of losses
    work.py             function of a worker, and its errors
    worker.py           process that runs on a machine
    machines.py         assigns items to the workers and collects their results
    session.py          rounds of requests to workers that keep values between rounds
    session_worker.py   process of such a worker
    shared.py           value that workers read

Nothing here depends on images or embeddings. Only Ray's core is used.
"""
