"""Clustering of a space: choice of k, training on a sample, and the assignment of every image.

The stage:
    settings.py           settings of a clustering
    choice.py             number of clusters, restarts and name if the user gives none
    cluster_stage.py      the clustering stage: sample, train, assign part by part
    extend.py             assigns new images to stored centroids
    tables.py             tables of a clustering
    trained_centroids.py  result of a training

Training:
    training.py           centroids of a sample, by strategy
    strategies.py         bisecting and agglomerative clustering
    whitening.py          whitening of unit vectors
    kmeans.py             k-means by faiss
    lloyd.py              reproducible k-means of samples, for experiments
    seeding.py            starting centroids: k-means++
    local_search.py       local search after Lloyd's algorithm
    exchange.py           moves of single images
    swaps.py              merges and splits of clusters
    distinct.py           distinct vectors, if there are few
    lloyd_step.py         iteration of Lloyd's algorithm over shares of the vectors
    training_shares.py    choice of shares: devices of this machine, or machines of a cluster
    shares.py             interface of a share
    exact_share.py        share on a CPU, by exact comparisons
    reduced_precision.py  share with products of reduced precision
    machine_share.py      share that the machines of a cluster hold
    scores.py             interface of these products
    bfloat16.py, int8.py  products on GPUs and on CPUs
    centroid_sums.py      reproducible sums of each centroid's vectors

Assignment:
    assign.py             nearest centroid, independent of the batch
    assignment_rule.py    cluster of an embedding: preparation, whitening, nearest centroid
    metric_distances.py   distances to centroids in the clustering's metric
"""
