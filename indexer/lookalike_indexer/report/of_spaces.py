"""Chapters about whole spaces: how many clusters, maps, checkpoints, comparisons."""

from __future__ import annotations

from lookalike_indexer.report.chapter import Made
from lookalike_indexer.report.context import Context
from lookalike_indexer.report.inline import Picture

# More thumbnails could not be told apart.
_ON_MAP = 300


def number_of_clusters(context: Context) -> Made:
    """How many clusters there may be."""
    from lookalike_indexer.experiments.choose_k import choose_k
    from lookalike_indexer.pictures.bars import BarStyle, bars

    seed = context.asked.seed
    result = context.kept("choose_k") or choose_k(context.view, last=32, sample=1000, seeds=3, seed=seed)
    table = result.tables["k"]
    columns = table.to_pydict()
    series = {name: columns[name] for name in ("silhouette", "stability")}
    chart = bars(
        [str(k) for k in columns["k"]], series, BarStyle("Silhouette, and stability under reseeding", names="k")
    )
    tables = {"rules": ["rule", "k", "value"], "k": table.column_names}
    return Made(result, tables, [("What each number of clusters is like", chart)])


def mapped(context: Context) -> Made:
    """A map of the images, as points and, of some, as thumbnails."""
    import numpy as np

    from lookalike_indexer.experiments.map2d import map2d
    from lookalike_indexer.pictures.map2d import Map, points, thumbnails

    view = context.view
    result = context.kept("map") or map2d(view, method="tsne", sample=1000, seed=context.asked.seed)
    table = result.tables["map"]
    rows = view.rows_of_ids(table.column("id").to_numpy())
    places = np.stack([table.column(axis).to_numpy() for axis in ("x", "y")], axis=1).astype(np.float64)
    title = f"{result.settings['space']} by {result.settings['method']}"
    chart = Map(places, view.label_texts(rows), "label", title)
    some = np.sort(np.random.default_rng(context.asked.seed).permutation(len(rows))[:_ON_MAP])
    small = Map(places[some], view.label_texts(rows[some]), "label", title)
    tiles = thumbnails(small, lambda position: context.thumbnails.picture(int(rows[some[position]])))
    pictures: list[tuple[str, Picture]] = [
        ("Each image a point", points(chart)),
        (f"{len(some)} of them as thumbnails, none over another", tiles),
    ]
    return Made(result, {}, pictures)


def compared(context: Context) -> Made:
    """Spaces and ways to cluster them; what they cost differs from run to run and is left out."""
    from lookalike_indexer.experiments.compare import compare
    from lookalike_indexer.pictures.bars import BarStyle, bars

    result = context.kept("compare") or compare(context.view, sample=1000, seed=context.asked.seed)
    scores = result.tables["scores"]
    columns = scores.to_pydict()
    names = [f"{space}, {strategy}" for space, strategy in zip(columns["space"], columns["strategy"], strict=True)]
    measures = ["nmi", "silhouette"] if context.view.label_names else ["silhouette"]
    chart = bars(names, {measure: columns[measure] for measure in measures}, BarStyle("Spaces and strategies"))
    listed = [name for name in scores.column_names if name not in ("smallest", "largest")]
    return Made(result, {"scores": listed}, [("Each space, clustered by each strategy", chart)])


def followed(context: Context) -> Made:
    from lookalike_indexer.experiments.evolution import evolution
    from lookalike_indexer.pictures.evolution import evolution_chart

    result = context.kept("evolution") or evolution(context.view, seed=context.asked.seed)
    tables = {
        "steps": ["step", "clusters", "purity", "nmi", "ari_before", "moved", "churn", "predictions_changed"],
        "labels": ["step", "label", "images", "purity"],
    }
    there = {name: columns for name, columns in tables.items() if name in result.tables}
    return Made(result, there, [("Its measures by step, and the maps of its steps, aligned", evolution_chart(result))])
