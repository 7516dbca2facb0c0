"""Shared by all packages of the server: errors, limits, settings, and the record of a call.

settings.py          settings of a server, made at the command line
limits.py            limits of calls
observe_settings.py  settings for metrics, logs, and traces
placement_mode.py    placement of indexes, and the policy for a lost device
tls_files.py         TLS files
share.py             share of the images that a shard searches
shard_settings.py    shard servers behind a router
automatic_fronts.py  number of fronts that suits a machine
thread_budget.py     processors for searches, embedding, and the rest
errors.py            exceptions, and their gRPC status codes
call_record.py       record of the current call
peers.py             addresses of peers
visible.py           paths and URIs that a caller may see
reply_room.py        size that the current call's reply may have
fair_share.py        rule for what one of several sharers may add
collection_name.py   name by which callers know a collection
served.py            summary of a served collection
log_once.py          rate limit for repeated log lines
"""
