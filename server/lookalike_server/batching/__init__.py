"""Dynamic batching: bounded fair queues, batch assembly, and a latency model.

waiting.py          rules of a queue, and the entries and pieces that wait in it
awaited.py          batcher for callers in an event loop
callers.py          peer that the current call counts for
batcher.py          owner thread of each device: takes batches, runs them, recovers devices
batch_queue.py      admission: limits of number, bytes, and estimated wait
load.py             totals of the queue by cost, for the estimated wait
fair.py             order of peers and of each peer's requests
batch.py            batch assembly, whole requests or pieces
cost.py             cost estimate of a search, in compared rows
latency_model.py    estimate of batch latency from cost
running_batches.py  batches that run now, and detection of hung ones
outcomes.py         results of pieces, joined into one answer for each request
turns.py            fair turns at a limited number of places, in an event loop
workers.py          thread pool for blocking work without a device
"""
