"""Placement and search of an index on devices. Code above this package does not depend on the placement.

First the placement, then the search strategies, then where they get their candidates:

    placer.py            placement of a server's indexes, and what happens after the loss of a device
    placed_index.py      a placed index, and the function that places it again
    build_searchers.py   entry point: from a stored index to searchers
    devices.py           processor and GPUs
    memory.py            free memory of a GPU
    split.py             pieces of an index for several GPUs
    share.py             share of an index for one shard server of several
    searcher.py          protocol of a searcher; an index on one device, or in pieces on several
    kinds.py             strategy for each class of faiss index
    strategies.py        protocol of a strategy; candidates compared again in float64
    reranked.py          quick codes find candidates, finer codes order them
    index_distances.py   distances as the index reports them
    exact.py             exact search on a GPU
    decoded_vectors.py   true distances to stored vectors
    first_stage.py       deterministic candidates of quick codes
    sources.py           protocol of a source of candidates
    flat_source.py       arrays of vectors or codes
    list_source.py       inverted lists
    graph_source.py      graphs
    projected_source.py  indexes of principal components
    some_codes.py        search of chosen rows of a scalar quantizer
    other_source.py      any other index, such as one on a GPU
    lists.py             choice of inverted lists for a query
    filtered_lists.py    choice of inverted lists for a query with a mask
    coverage.py          estimate of how much of a neighborhood lies in the nearest lists
    masks.py             masks of a batch of queries
    facts.py             how searches with masks were done
"""
