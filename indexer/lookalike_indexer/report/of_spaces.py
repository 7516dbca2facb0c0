"""Chapters about whole spaces: number of clusters, maps, checkpoints, comparisons."""

from __future__ import annotations

from lookalike_indexer.errors import IndexerError
from lookalike_indexer.report.chapter import Content
from lookalike_indexer.report.context import Context
from lookalike_indexer.report.inline import Picture

# More thumbnails would be indistinguishable.
_ON_MAP = 300
_LEAVES = 60


def number_of_clusters(context: Context) -> Content:
    """Show the suggested number of clusters and, if the classifier's weights are available, the tree of its classes."""
    from lookalike_indexer.charts.choose_k import choose_k_chart
    from lookalike_indexer.charts.dendrogram import tree_figure
    from lookalike_indexer.experiments.choose_k import choose_k
    from lookalike_indexer.experiments.label_tree import label_tree

    seed = context.asked.seed
    result = context.stored_result("choose_k") or choose_k(context.view, last=32, sample=1000, seeds=3, seed=seed)
    pictures: list[tuple[str, Picture]] = [("What each number of clusters is like", choose_k_chart(result))]
    left_out = []
    try:
        tree = context.stored_result("label_tree") or label_tree(context.view, most=_LEAVES)
        pictures.append((f"The classes that the model sees, as a tree. {tree.findings[0]}", tree_figure(tree)))
    except IndexerError as error:
        left_out.append(f"Not drawn, the tree of the classes that the model sees (lookalike dendrogram): {error}")
    tables = {"rules": ["rule", "k", "value"], "k": result.tables["k"].column_names}
    return Content(result, tables, pictures, left_out)


def mapped(context: Context) -> Content:
    """Show a map of the images, as points and, for some, as thumbnails."""
    import numpy as np

    from lookalike_indexer.charts.map2d import Map, points, thumbnails
    from lookalike_indexer.charts.palette import palette
    from lookalike_indexer.experiments.map2d import METHOD_NAMES, map2d

    view = context.view
    result = context.stored_result("map") or map2d(view, method="tsne", sample=1000, seed=context.asked.seed)
    table = result.tables["map"]
    rows = view.rows_of_ids(table.column("id").to_numpy())
    places = np.stack([table.column(axis).to_numpy() for axis in ("x", "y")], axis=1).astype(np.float64)
    title = f"{result.settings['space']} by {METHOD_NAMES[str(result.settings['method'])]}"
    colors = palette(view.label_texts(rows))
    chart = Map(places, view.label_texts(rows), colors, "label", title)
    some = np.sort(np.random.default_rng(context.asked.seed).permutation(len(rows))[:_ON_MAP])
    small = Map(places[some], view.label_texts(rows[some]), colors, "label", title)
    tiles = thumbnails(small, lambda position: context.thumbnails.picture(int(rows[some[position]])))
    pictures: list[tuple[str, Picture]] = [
        ("Each image a point", points(chart)),
        (f"{len(some)} of them as thumbnails, none over another", tiles),
    ]
    return Content(result, {}, pictures)


def compared(context: Context) -> Content:
    """Compare spaces and strategies, without costs, which differ between runs."""
    from lookalike_indexer.charts.scores import comparison_chart
    from lookalike_indexer.experiments.compare import compare

    result = context.stored_result("compare") or compare(context.view, sample=1000, seed=context.asked.seed)
    listed = [name for name in result.tables["scores"].column_names if name not in ("smallest", "largest")]
    chart = comparison_chart(result)
    return Content(result, {"scores": listed}, [("Each space, clustered by each strategy", chart)])


def followed(context: Context) -> Content:
    from lookalike_indexer.charts.evolution import evolution_chart
    from lookalike_indexer.experiments.evolution import evolution

    result = context.stored_result("evolution") or evolution(context.view, seed=context.asked.seed)
    tables = {
        "steps": [
            "step",
            "clusters",
            "purity",
            "nmi",
            "accuracy",
            "ari_before",
            "moved",
            "churn",
            "predictions_changed",
        ],
        "labels": ["step", "label", "images", "purity"],
    }
    there = {name: columns for name, columns in tables.items() if name in result.tables}
    pictures: list[tuple[str, Picture]] = [
        ("Its measures by step, and the maps of its steps, aligned", evolution_chart(result))
    ]
    if any(result.tables["map"].column("prediction").to_pylist()):
        pictures.append(
            ("The same, colored by what each step takes the images for", evolution_chart(result, "prediction"))
        )
    return Content(result, there, pictures)
