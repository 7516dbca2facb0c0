"""Vector arithmetic: metrics, products row by row, rounding errors, exact search, samples.

Clustering, indexing, the graph and the server use it. It uses only the collection.

    metric.py     preparation of vectors and distances for a metric
    rowwise.py    sums over rows in float64, independent of the batch
    rounding.py   bounds of rounding errors
    pairs.py      exact distances of pairs
    exact.py      exact nearest neighbors
    exchange.py   exact nearest neighbors with one product for each pair of vectors
    flat.py       flat faiss index on the CPU or on GPUs
    sample.py     reproducible sample of a space

The modules are in the order of their dependencies.
"""
