"""Communities of the graph of nearest neighbors: groups of images with more edges among them than chance gives.

Modularity (Newman, Girvan: Finding and evaluating community structure in
networks, 2004) compares the edges within groups with those of a random graph of
the same degrees. Louvain's method (Blondel, Guillaume, Lambiotte, Lefebvre:
Fast unfolding of communities in large networks, 2008) raises it: nodes move
one by one to the group that gains most, then groups become nodes. The graph has
an edge from each image to its nearest ones, as in PhenoGraph (Levine et al.,
Cell, 2015).
"""

from __future__ import annotations

import networkx
import numpy as np

from lookalike_indexer.arrays import Float32, Int32

# As many as precision@10 counts; classes of 20 images have more.
_NEIGHBORS = 10
_STARTS = 10


def count_communities(distances: Float32, seed: int) -> int:
    """Return how many communities the graph of the ten nearest has; `distances` are those of all pairs (n, n)."""
    return int(communities(distances, neighbors=_NEIGHBORS, starts=_STARTS, seed=seed).max()) + 1


def communities(distances: Float32, *, neighbors: int, starts: int, seed: int) -> Int32:
    """Return the community of each image, int32 (n,), from the distances of all pairs (n, n), n >= 2.

    Each image has edges to its `neighbors` nearest images; among equal distances, the lower row wins. The communities
    are the best of `starts` orders of the nodes by modularity. Larger communities have lower numbers; among equal
    sizes, the one with the lowest row comes first.
    """
    graph = _neighbor_graph(distances, min(neighbors, len(distances) - 1))
    seeds = np.random.default_rng(seed).integers(2**31, size=starts).tolist()
    divisions = [networkx.community.louvain_communities(graph, seed=each) for each in seeds]
    best = max(divisions, key=lambda division: networkx.community.modularity(graph, division))
    numbers = np.empty(len(distances), np.int32)
    for number, members in enumerate(sorted(best, key=lambda members: (-len(members), min(members)))):
        numbers[list(members)] = number
    return numbers


def _neighbor_graph(distances: Float32, neighbors: int) -> networkx.Graph:
    """Return the graph of the nearest images; an edge has weight 2 if each image is near the other."""
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(distances)))
    for image, row in enumerate(distances):
        order = np.argsort(row, kind="stable")
        for other in order[order != image][:neighbors].tolist():
            weight = graph.get_edge_data(image, other, {"weight": 0})["weight"]
            graph.add_edge(image, other, weight=weight + 1)
    return graph
