"""One index over several servers: what routers and shards say to each other, and how a router asks."""
