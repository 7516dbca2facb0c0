"""Search of one space: search effort, and the engine that batches searches.

Arrays go in and arrays come out; the wire format is unknown here.

    effort.py         plan of a search, from exact, nprobe, or a recall target
    search_engine.py  protocol of an engine, in this process or behind a socket
    hits.py           searches and their results, as arrays
    engine.py         queues of a space: index searches, and exact scans
    lanes.py          worker functions that run a batch on an index, or as a scan
    share_engine.py   engine of a shard, which answers a router
"""
