"""One index over several servers: the router's side, and the messages between routers and shards.

shard_set.py    servers behind a router, and their health
replica.py      one server of a shard
shard_call.py   one question to all shards, with failover and hedging
remote.py       index and embeddings on shards, searched like local ones
engine.py       search engine of a space on shards
messages.py     messages between router and shards
"""
