"""Work in separate processes, and the queues before it: networks, experiments, thumbnails.

worker_process.py     process with one task, and the pipe to it
watchdog.py           kills a process that has hung
hangs.py              log and count of what has hung
embedding.py          queue of images and texts to embed
embedding_process.py  network in a worker process
experiment_queue.py   queue of experiments, and the cache of their answers
experiment_runner.py  experiments in a worker process
attribution.py        attribution images, drawn in the experiment process
result_encoding.py    results of experiments as messages
thumbnails.py         queue of thumbnails
caller.py             exit of a server together with the process that started it
"""
