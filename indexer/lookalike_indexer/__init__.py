"""Lookalike's indexer: from a folder of images to a collection that can be searched and clustered.

In the order of the data's way:
    sources/        images of a source, and its listing
    images/         decoding and preparation of images
    models/         networks and their weights
    embedding/      embedding of images and queries
    imported/       import of existing embeddings
    attributes/     attribute tables that users attach
    quality/        quality measures of images
    collection/     the collection on disk
    clustering/     clustering of a space
    indexing/       search indexes
    graph/          k-nearest-neighbor graphs
    filters/        filter expressions
    experiments/    experiments on a collection
    attribution/    attribution of classifications
    charts/         drawings of results
    report/         HTML report
    upkeep/         sync, folding, compaction
    verification/   verification
    cli/            commands

Shared:
    vectors/        vector arithmetic and exact search
    numerics/       reproducible arithmetic
    machines/       work on the machines of a cluster
    errors.py, progress.py, text.py, arrays.py, threads.py, devices.py, processor.py, diagnosis.py
"""
