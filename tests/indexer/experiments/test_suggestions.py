from __future__ import annotations

import numpy as np

from lookalike_indexer.experiments.imagenet_tree import imagenet_tree
from lookalike_indexer.experiments.suggestions import Suggestion, label_routes, peaks, suggestions, tree_cut, within


def test_peaks_are_the_highest_of_their_neighborhood_by_height():
    numbers = list(range(2, 14))
    assert peaks(numbers, [5, 1, 2, 1, 1, 1, 3, 4, 3, 1, 1, 1]) == [2, 9, 4]
    assert peaks([2, 3, 4], [float("nan"), 1, 0]) == [3]


def test_at_most_three_suggestions_that_differ_by_a_third():
    numbers = list(range(2, 14))
    values = [5.0, 1, 2, 1, 1, 1, 3, 4, 3, 1, 1, 1]
    assert suggestions(numbers, values, {"classes": 10, "meanings": 6}) == [
        Suggestion(2, "silhouette"),
        Suggestion(10, "classes"),
        Suggestion(4, "silhouette"),
    ]
    assert [each.k for each in suggestions(numbers, values, {})] == [2, 9, 4]


def test_classes_come_before_communities_and_both_before_further_peaks():
    numbers = list(range(2, 14))
    values = [5.0, 1, 2, 1, 1, 1, 3, 4, 3, 1, 1, 1]
    found = suggestions(numbers, values, {"classes": 10, "meanings": 4, "communities": 6})
    assert found == [Suggestion(2, "silhouette"), Suggestion(10, "classes"), Suggestion(6, "communities")]
    alike = suggestions(numbers, values, {"classes": 7, "communities": 6})
    assert alike == [Suggestion(2, "silhouette"), Suggestion(7, "classes"), Suggestion(4, "silhouette")]


def test_only_classes_more_probable_than_all_others_count():
    classes = np.repeat([414, 417, 608, 1], 10).astype(np.int32)
    names = {414: "backpack", 417: "balloon", 608: "jean", 1: "goldfish"}
    sure = np.full(40, 0.9, np.float32)
    assert label_routes(classes, sure, names)["classes"] == 4
    sure[30:] = 0.4
    assert label_routes(classes, sure, names)["classes"] == 3
    assert label_routes(classes, np.full(40, 0.2, np.float32), names) == {}
    assert set(label_routes(classes, np.full(40, 0.9, np.float32), {index: f"class {index}" for index in names})) == {
        "classes"
    }


def test_tree_is_cut_between_meanings_where_classes_are_evenly_seen():
    tree = imagenet_tree()
    dogs = {node.node: 3 for node in tree.meanings if node.leaves == 1 and tree.find("dog") in tree.upwards(node.node)}
    leaves = {node: count for node, count in dogs.items() if tree.meanings[node].node in dogs}
    classes = {node: count for node, count in leaves.items() if not any(m.parent == node for m in tree.meanings)}
    groups = tree_cut({**classes, tree.find("tench"): 200})
    assert sorted(groups) == [200, 3 * len(classes)]


def test_number_30_percent_away_is_no_new_suggestion():
    numbers = list(range(2, 31))
    values = [1.0 if k == 10 else 0.0 for k in numbers]
    assert [each.k for each in suggestions(numbers, values, {"classes": 13})] == [10]
    assert [each.k for each in suggestions(numbers, values, {"classes": 14})] == [10, 14]
    assert (within(13, 10), within(10, 13), within(14, 10)) == (True, True, False)
