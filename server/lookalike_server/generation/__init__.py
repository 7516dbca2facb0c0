"""Generations of the collection in memory, and the verification of their files.

verification.py  verification of files before and while they are served
later_files.py   files that are verified after serving began
loader.py        loading of a generation
index_choice.py  choice of the index of each space
shared_files.py  files that the processes of one server map
spaces.py        a space: rows, vectors, and the engine that searches it
snapshot.py      a loaded generation
current.py       leases of the served snapshot, and the swap to a new one
router_generations.py   older generations that a shard keeps for its routers
memory_trim.py   return of freed memory to the operating system
"""
