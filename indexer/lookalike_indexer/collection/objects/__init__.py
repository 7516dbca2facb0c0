"""Collections on object stores: S3, Google Cloud Storage and Azure, through the library obstore.

    store.py      opens a store by its URL
    checks.py     checks the operations that a store must support
    storage.py    reads and writes a collection
    cache.py      local LRU cache of fetched objects
    lease.py      admits a single writer
    holds.py      records which generations are being read, for `gc`

The stores must list consistently and support conditional creation.
"""
