"""k-nearest-neighbor graph of a space: the ids and distances of each image's nearest neighbors, as a table.

The stage:
    settings.py      settings of a graph
    graph_stage.py   the graph stage: extends or creates the parts of a graph
    groups.py        groups of parts that are compared in one pass
    lists.py         lists of nearest neighbors
    recall.py        recall of an approximate graph

Search methods:
    finders.py       interface of a search, and comparison with all images
    index_search.py  candidates of an index
    each_pair.py     exact graph with one product for each pair
    components.py    candidates by principal components
    near_pairs.py    approximate nearest neighbors among vectors of few dimensions
    rescoring.py     exact distances of candidates
"""
