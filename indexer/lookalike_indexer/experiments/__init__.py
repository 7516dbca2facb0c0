"""Experiments on a clustered collection: one file for each, with a function from a view to a result.

Data that experiments share:
    view.py                columns of a collection, aligned by image
    result.py              result of an experiment
    stored_results.py      results stored in the collection
    space_sample.py        sample of a space
    space_notes.py         sentences about untrained models and incomplete clusterings
    alike.py               check for spaces of equal embeddings
    cost.py                time and memory of an operation

Clusters and labels:
    matrix.py              class x cluster matrix; main_clusters.py has its cells and order
    interpret.py           samples and names of clusters; naming.py makes the names
    image_clusters.py      clusters of an image; agreement.py compares clusterings
    split.py               clusters within a class; subclusters.py computes them
    oddballs.py            images that are odd for their label; oddness.py measures them
    compare.py             comparison of spaces and strategies; partitions.py runs them
    choose_k.py            number of clusters; suggestions.py ranks them
    communities.py         number of communities of the neighbor graph
    metrics.py             agreement of two partitions
    partition_quality.py   silhouette and other measures
    evolution.py           changes over checkpoints; checkpoint_steps.py, cluster_tracks.py

Classes and predictions:
    classes.py             accuracy for each class
    class_map.py           mapping of labels to classes
    mistakes.py            confused classes and misclassified images
    label_issues.py        likely wrong labels; neighbor_votes.py has the probabilities
    label_tree.py          tree of classes; word_vectors.py reads word vectors
    imagenet_tree.py       ImageNet's classes in WordNet
    explain.py             explanation of a classification; subject.py, rival.py, surroundings.py,
                           explain_findings.py, explain_table.py

Duplicates and samples:
    duplicates.py          groups of near-duplicates; near_duplicates.py, duplicate_groups.py,
                           alike_hashes.py, valley.py
    leaks.py               near-duplicates across splits
    image_quality.py       quality flags
    sample.py              spread-out sample
    graph_lists.py         neighbors in the stored graph
    map2d.py               two-dimensional map

Export:
    fiftyone.py            export for FiftyOne
    sorting.py             folders by cluster or label
"""
