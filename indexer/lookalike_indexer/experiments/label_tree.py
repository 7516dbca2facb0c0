"""Tree of the classes that a model sees in the images, by the classes' meanings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

from lookalike_indexer.arrays import Float32, Float64, Int32, Int64
from lookalike_indexer.collection.manifest import Setting
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.experiments.metrics import Agreement, agreement, contingency
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View, shortened_list
from lookalike_indexer.experiments.word_vectors import name_vectors
from lookalike_indexer.numerics.variation import all_equal


@dataclass(frozen=True)
class _Leaves:
    """The classes in the tree: index, images and name of each, with their vectors (classes, dim) and their source."""

    classes: Int64
    images: Int64
    names: list[str]
    vectors: Float32
    used: list[str]


def label_tree(
    view: View,
    *,
    model: str = "",
    word_vectors: str = "",
    clusters: int = 0,
    most: int = 100,
    weights_file: str | None = None,
) -> Result:
    """Build a tree of the top-1 classes of all images, and cut it.

    The leaves are the `most` most frequent top-1 classes of `model` (by default that of the default space). A class's
    vector comes from the file `word_vectors`, see the module of that name. Without a file it is the class's row of the
    classifier's weights; `weights_file` is their present location. Agglomerative clustering with average linkage of
    cosine distances (Sokal, Michener, 1958) builds the tree. It is cut into `clusters` groups. If that is 0, the cut
    has the highest silhouette among those that leave no more than half of the classes together.

    Tables: classes (in the order of the tree's leaves; with the group of each and the words used for it), merges (left,
    right, height, classes: as SciPy's linkage, in the numbers of `leaf`), misses (classes without any word in the
    file). Figures compare the groups of the images, by their top-1 class, with the labels. Raise UsageError for a
    number out of range. Raise NotBuiltError for fewer than three classes, or fewer than three with a vector.
    """
    model = model or view.reader.space()[1].model
    if most < 3:
        raise UsageError(f"--most {most}: a tree needs at least 3 classes.")
    first = view.predicted(model).classes[:, 0]
    found, counts = np.unique(first[first >= 0], return_counts=True)
    # The most frequent ones, the lower index first among equals.
    kept = np.sort(np.lexsort((found, -counts))[:most])
    if len(kept) < 3:
        raise NotBuiltError(f"{model} sees too few classes in the images, {len(kept)}; a tree needs at least 3.")
    leaves, missed = _leaves(view, model, found[kept].astype(np.int64), counts[kept], word_vectors, weights_file)
    count = len(leaves.classes)
    if clusters and not 2 <= clusters < count:
        raise UsageError(f"--clusters {clusters}: give a number from 2 to {count - 1}, for {count} classes.")
    if all_equal(leaves.vectors):
        raise NotBuiltError("The vectors of all classes are the same; there is nothing to group.")
    # A zero vector has no direction: its distance to every other one is that of orthogonal vectors.
    distances = np.clip(np.nan_to_num(pdist(leaves.vectors.astype(np.float64), "cosine"), nan=1.0), 0, None)
    tree = linkage(distances, "average", optimal_ordering=True)
    groups = _cut(tree, distances, clusters)
    matched = _agreement(view, first, leaves.classes, groups)
    settings: dict[str, Setting] = {
        "model": model,
        "vectors": _digest(word_vectors) if word_vectors else "weights",
        "clusters": int(groups.max()) + 1,
        "most": most,
    }
    figures = {
        "classes": float(count),
        "clusters": float(groups.max() + 1),
        "cut": _height(tree, int(groups.max()) + 1),
        "images": float(leaves.images.sum()),
        "left_out": float((first >= 0).sum() - leaves.images.sum()),
        **{name: value for name, value in matched.figures().items() if np.isfinite(value)},
    }
    tables = {"classes": _classes_table(leaves, groups, leaves_list(tree)), "merges": _merges_table(tree)}
    tables["misses"] = pa.table({"class": pa.array(missed, pa.string())})
    why = "as requested" if clusters else "the highest silhouette (cosine) of all cuts"
    findings = _findings(view, settings, missed, figures, why)
    return Result("label_tree", settings, tables, figures, findings)


def _leaves(
    view: View, model: str, classes: Int64, images: Int64, word_vectors: str, weights_file: str | None
) -> tuple[_Leaves, list[str]]:
    """Return the classes that have a vector, and the names of those that have none."""
    names = [view.predicted(model).names[index] for index in classes.tolist()]
    if not word_vectors:
        rows = _classifier_rows(view, model, weights_file)[classes]
        return _Leaves(classes, images, names, rows, ["its row of weights"] * len(names)), []
    vectors = name_vectors(Path(word_vectors), names)
    # A zero vector has no direction, so it cannot be used.
    there = [place for place, vector in zip(vectors.found, vectors.vectors, strict=True) if vector.any()]
    missed = [name for position, name in enumerate(names) if position not in set(there)]
    if len(there) < 3:
        raise NotBuiltError(
            f"{word_vectors} has words for {len(there)} of the {len(names)} classes ({shortened_list(names, 5)}), and "
            "a tree needs 3; give a file with more words, or none to use the classifier's weights."
        )
    places = np.array(there)
    kept = vectors.vectors[np.isin(vectors.found, places)]
    leaves = _Leaves(
        classes[places], images[places], [names[place] for place in there], kept, [vectors.used[p] for p in there]
    )
    return leaves, missed


def _classifier_rows(view: View, model: str, weights_file: str | None) -> Float32:
    """Return the weights of a model's last layer, one row for each class; errors as in `stored_module`."""
    from lookalike_indexer.embedding.stored_network import stored_module
    from lookalike_indexer.models.architecture import head_weight

    module = stored_module(view.reader, model, weights_file)
    weight = module.get_parameter(head_weight(module)).detach()
    rows: Float32 = weight.reshape(len(weight), -1).float().numpy()
    return rows


def _cut(tree: Float64, distances: Float64, clusters: int) -> Int32:
    """Return the group of each leaf, numbered from 0 in the order of the tree."""
    if clusters:
        groups = fcluster(tree, clusters, "maxclust")
    else:
        square = squareform(distances)
        cuts = [fcluster(tree, k, "maxclust") for k in range(2, len(square))]
        # With equal heights, some numbers of groups are not possible.
        cuts = [cut for cut in cuts if 1 < cut.max() < len(square)]
        if not cuts:
            raise NotBuiltError("The vectors of all classes are the same; there is nothing to group.")
        divided = [cut for cut in cuts if np.bincount(cut).max() <= len(square) / 2]
        groups = max(divided or cuts, key=lambda cut: silhouette_score(square, cut, metric="precomputed"))
    order = groups[leaves_list(tree)]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(order.tolist()))}
    return np.array([numbers[group] for group in groups.tolist()], np.int32)


def _height(tree: Float64, groups: int) -> float:
    """Return the midpoint of the heights that give this number of groups."""
    merges = len(tree) + 1 - groups
    below = tree[merges - 1, 2] if merges else 0.0
    return float((below + tree[merges, 2]) / 2)


def _agreement(view: View, first: Int32, classes: Int64, groups: Int32) -> Agreement:
    """Return the agreement of the images' groups, by their top-1 class, with their labels."""
    group_of = np.full(int(first.max()) + 1, -1, np.int32)
    group_of[classes] = groups
    of_images = np.where(first >= 0, group_of[np.maximum(first, 0)], -1).astype(np.int32)
    return agreement(contingency(view.labels, of_images))


def _classes_table(leaves: _Leaves, groups: Int32, order: Int32) -> pa.Table:
    return pa.table(
        {
            "leaf": pa.array(order, pa.int32()),
            "class_index": leaves.classes[order],
            "class": [leaves.names[leaf] for leaf in order.tolist()],
            "images": leaves.images[order],
            "cluster": groups[order],
            "vector": [leaves.used[leaf] for leaf in order.tolist()],
        }
    )


def _merges_table(tree: Float64) -> pa.Table:
    columns = {"left": tree[:, 0].astype(np.int32), "right": tree[:, 1].astype(np.int32)}
    return pa.table({**columns, "height": tree[:, 2], "classes": tree[:, 3].astype(np.int32)})


def _digest(path: str) -> str:
    """Return the identity of a word vectors file, independent of its location.

    Raise NotFoundError if it does not exist.
    """
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _findings(
    view: View, settings: dict[str, Setting], missed: list[str], figures: dict[str, float], why: str
) -> tuple[str, ...]:
    model = str(settings["model"])
    found = [f"{figures['classes']:.0f} classes that {model} puts first make {figures['clusters']:.0f} groups ({why})."]
    wordless = ", or have no word" if missed else ""
    if figures["left_out"]:
        found.append(f"{figures['left_out']:,.0f} images are left out: their classes are rarer{wordless}.")
    if missed:
        found.append(f"No word for {len(missed)} classes: {shortened_list(missed)}.")
    if "ari" in figures:
        found.append(
            f"Images grouped by their class: purity {figures['purity']:.3f}, NMI {figures['nmi']:.3f}, "
            f"ARI {figures['ari']:.3f} against {len(view.label_names)} labels."
        )
    if not view.reader.model(model).spec.weights.pretrained:
        found.append("UNTRAINED weights: the classes that it puts first mean nothing.")
    if settings["vectors"] == "weights":
        found.append("Classes are alike here as far as the classifier's weights are; give word vectors for meanings.")
    return tuple(found)
