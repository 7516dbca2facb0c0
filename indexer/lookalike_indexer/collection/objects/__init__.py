"""Collections on object stores: S3, Google Cloud Storage and Azure, through the library obstore.

`store.py` opens a store, `storage.py` reads and writes a collection there,
`cache.py` keeps what was fetched, `lease.py` admits one writer, and `holds.py`
tells `gc` which generations are read.
"""
