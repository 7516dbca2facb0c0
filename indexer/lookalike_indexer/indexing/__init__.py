"""Search indexes over a space: choice of the index type, building, and measuring of recall.

The stage:
    settings.py           settings of an index
    early_checks.py       checks of the settings before anything is embedded or trained
    build_stage.py        the indexing stage: choose, sample, train, fill, measure recall
    extend.py             adds new rows to an index without training
    files.py              index files with their records
    increments.py         files with the rows that an index gained

Choice:
    recipes.py            faiss factory string from the settings and the number of images
    choice.py             choice of the index type by trials on a sample
    trial.py              trial of one index type
    search_time_model.py  search time over all rows, from that over a sample

Building and searching:
    build.py              creates, trains and fills a faiss index
    params.py             properties and search parameters of an index
    projection.py         projection to principal components
    two_stage.py          index of principal components, refined by codes of whole vectors
    products.py           faiss's threshold for matrix products
    recall.py             measures recall
    truth_on_machines.py  exact neighbors, found on the machines of a cluster
    recall_ladder.py      search effort for a recall
"""
