"""Communities of the graph of nearest neighbors: groups of images with more edges among them than chance gives.

Modularity (Newman, Girvan: Finding and evaluating community structure in
networks, 2004) compares the edges within groups with those of a random graph of
the same degrees. Louvain's method (Blondel, Guillaume, Lambiotte, Lefebvre:
Fast unfolding of communities in large networks, 2008) raises it: nodes move
one by one to the group that gains most, then groups become nodes. The graph has
an edge from each image to its nearest ones, as in PhenoGraph (Levine et al.,
Cell, 2015).

Gains are whole numbers, so that the same graph and seed give the same groups on
every machine.
"""

from __future__ import annotations

import numpy as np

from lookalike_indexer.arrays import Float32, Int32, Int64

# As many as precision@10 counts; classes of 20 images have more.
_NEIGHBORS = 10
_STARTS = 10

# The edges of a node: the weight to each of its neighbors. Weights within the node itself are left out.
_Graph = list[dict[int, int]]


def count_communities(distances: Float32, seed: int) -> int:
    """Return how many communities the graph of the ten nearest has; `distances` are those of all pairs (n, n)."""
    return int(communities(distances, neighbors=_NEIGHBORS, starts=_STARTS, seed=seed).max()) + 1


def communities(distances: Float32, *, neighbors: int, starts: int, seed: int) -> Int32:
    """Return the community of each image, int32 (n,), from the distances of all pairs (n, n), n >= 2.

    Each image has edges to its `neighbors` nearest images; among equal distances, the lower row wins. The groups are
    the best of `starts` orders of the nodes by modularity, numbered by falling size.
    """
    graph, degrees = _neighbor_graph(distances, min(neighbors, len(distances) - 1))
    random = np.random.default_rng(seed)
    best = max((_louvain(graph, degrees, random) for _ in range(starts)), key=lambda found: found[0])[1]
    sizes = np.bincount(best)
    rank = np.empty(len(sizes), np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[best]


def _neighbor_graph(distances: Float32, neighbors: int) -> tuple[_Graph, list[int]]:
    """Return the edges and the degree of each image; an edge has weight 2 if each image is near the other."""
    graph: _Graph = [{} for _ in range(len(distances))]
    for image, row in enumerate(distances):
        order = np.argsort(row, kind="stable")
        for other in order[order != image][:neighbors].tolist():
            graph[image][other] = graph[image].get(other, 0) + 1
            graph[other][image] = graph[other].get(image, 0) + 1
    return graph, [sum(edges.values()) for edges in graph]


def _louvain(graph: _Graph, degrees: list[int], random: np.random.Generator) -> tuple[int, Int64]:
    """Return the modularity times the square of the total degree, and the group of each node from 0."""
    total = sum(degrees)
    groups = np.arange(len(graph))
    edges, weights = graph, degrees
    while True:
        moved = _moved(edges, weights, total, random)
        groups = moved[groups]
        count = int(moved.max()) + 1
        if count == len(edges):
            return _modularity(graph, degrees, groups, total), groups
        edges, weights = _merged(edges, weights, moved.tolist(), count)


def _moved(graph: _Graph, degrees: list[int], total: int, random: np.random.Generator) -> Int64:
    """Move nodes while that raises the modularity; return the group of each node, numbered from 0."""
    group = list(range(len(graph)))
    degree_of = list(degrees)
    order = random.permutation(len(graph)).tolist()
    while True:
        changed = False
        for node in order:
            own, degree = group[node], degrees[node]
            degree_of[own] -= degree
            linked: dict[int, int] = {own: 0}
            for other, weight in graph[node].items():
                linked[group[other]] = linked.get(group[other], 0) + weight
            best, most = own, total * linked[own] - degree * degree_of[own]
            for candidate, weight in linked.items():
                gain = total * weight - degree * degree_of[candidate]
                if gain > most:
                    best, most = candidate, gain
            group[node] = best
            degree_of[best] += degree
            changed |= best != own
        if not changed:
            break
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def _merged(graph: _Graph, degrees: list[int], group: list[int], count: int) -> tuple[_Graph, list[int]]:
    """Return the graph whose nodes are groups, and their degrees."""
    merged: _Graph = [{} for _ in range(count)]
    weights = [0] * count
    for node, edges in enumerate(graph):
        own = group[node]
        weights[own] += degrees[node]
        for other, weight in edges.items():
            if group[other] != own:
                merged[own][group[other]] = merged[own].get(group[other], 0) + weight
    return merged, weights


def _modularity(graph: _Graph, degrees: list[int], groups: Int64, total: int) -> int:
    """Return the modularity times the square of the total degree."""
    of = groups.tolist()
    inside = sum(weight for node, edges in enumerate(graph) for other, weight in edges.items() if of[other] == of[node])
    of_groups = [0] * (max(of) + 1)
    for node, degree in enumerate(degrees):
        of_groups[of[node]] += degree
    return total * inside - sum(degree * degree for degree in of_groups)
