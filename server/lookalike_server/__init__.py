"""gRPC service of Lookalike: which stored images look like this one, and which cluster is it in?

commands/             command line
app.py                composition root
served_collection.py  one collection of a server
common/               settings, limits, errors
transport/            path of a call into the server
services/             servicers of the gRPC services
query/                queries as vectors; reloading
filters/              filters of calls
batching/             queues and batches
search/               search engine of a space
placement/            indexes on devices
columns/              metadata of images in memory
generation/           loaded generations
live/                 changes to a served collection
processes/            embedding, experiments, and thumbnails in other processes
fronts/               several processes per server
shards/               one index over several servers
observe/              metrics, logs, traces, recall audit
"""
