"""gRPC services of lookalike.v1. Each handler checks its request, does the work, and writes the reply as columns.

routing.py           choice of the servicer of the collection that a request names
request_checks.py    limits that are checked before any work
filtering.py         filters and requested columns of a call
search.py            SearchService
search_task.py       checked request of a search
answering.py         queueing of searches, and replies for whole batches
grouped_search.py    searches with grouped neighbors
grouping.py          the groups of one query
neighbor_columns.py  attributes and vectors of neighbors
reply_writer.py      neighbors as columns of a reply
plans.py             how a search was done, as the reply reports it
auditing.py          sample searches for the recall audit
cluster.py           ClusterService
collection.py        CollectionService
collection_list.py   the ListCollections method
graph_lists.py       neighbors of images in the stored graph
pagination.py        page tokens
experiments.py       ExperimentService
stored_results.py    pages of stored results
update.py            UpdateService
server_info.py       ServerService
shard.py             ShardService
replies.py           parts that replies share
"""
