"""Path of a call into the server: port, TLS, tokens, admission, reading of messages, and health.

listen.py             port, and gRPC's options
tls.py                certificates, reloaded when they change
reloading_file.py     value read from files that may change while the server runs
grpc_server.py        gRPC server: interceptors, services, and draining
service_table.py      services and their methods
interceptor_chain.py  handler of each method, wrapped once by all interceptors
interceptors.py       base class; counts calls in flight, answers errors, sends replies in pieces
access.py             authorization: the role that a method needs, and who sees paths
tokens.py             bearer tokens and their roles
local_user.py         secret that identifies the user who runs the server
collection_names.py   collection that a call is about, limited to those of its token
admission.py          limits of calls and bytes for each peer
receiving.py          places for messages that are arriving
fair_slots.py         round-robin places, used by receiving.py
fixed_timeout.py      one timeout for many waits, used by receiving.py
messages.py           parsing of requests, bounded and off the event loop
carried.py            requests in pieces
streams.py            limits of long-lived calls: health watches and reflection
sent.py               whether a reply was sent
health.py             health service
"""
