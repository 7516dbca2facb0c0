"""`lookalike evolution`: show how clusters, neighbors and single images change over a model's checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lookalike_indexer.cli.collection_command import CollectionCommand
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.cli.experiment_options import (
    class_map_option,
    class_names_option,
    csv_option,
    experiment_options,
    findings,
    for_programs,
    keep_option,
    keep_result,
    open_view,
    print_all,
    seed_option,
    shown,
)
from lookalike_indexer.cli.out_folder import open_out
from lookalike_indexer.errors import UsageError

_STEPS = ["step", "clusters", "purity", "nmi", "accuracy", "ari_before", "moved", "churn", "predictions_changed"]
_PATH = ["step", "cluster", "track", "main_label", "prediction", "probability"]


@click.command(cls=CollectionCommand)
@csv_option("steps", "clusters", "labels", "images", "map")
@experiment_options
@click.option(
    "--checkpoints",
    multiple=True,
    metavar="FILES",
    help="State dicts to embed and cluster first, as a pattern in quotes such as 'step*.pth'; repeatable.",
)
@click.option("--model", default="", metavar="ARCH", help="The torchvision model that they are checkpoints of.")
@click.option("--name", default="", help="Name of the model in the collection.  [default: the --model]")
@click.option("--preprocess", default="", metavar="NAME", help="Use the transforms of these published weights.")
@click.option("--clusters", type=click.IntRange(min=1), metavar="K", help="Clusters of each --checkpoints step.")
@click.option("--gpus", default="", metavar="0,1|all", help="GPUs to embed with.  [default: the first, or the CPU]")
@click.option("-k", "neighbors", type=click.IntRange(min=1), default=10, show_default=True, help="Neighbors compared.")
@click.option(
    "--sample",
    type=click.IntRange(min=2),
    default=2000,
    show_default=True,
    help="At most so many images are compared by neighbors and drawn on the maps.",
)
@class_map_option
@click.option("--image", metavar="KEY", help="Follow this image through the steps.")
@class_names_option
@seed_option
@keep_option
@reported
def evolution(
    collection: str,
    checkpoints: tuple[str, ...],
    neighbors: int,
    sample: int,
    class_map_file: str | None,
    image: str | None,
    out: str | None,
    keep: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Follow the checkpoints of one model from step to step.

    Each checkpoint is a model of the collection, called MODEL@STEP; those of
    --checkpoints are embedded and clustered first, in the order of the numbers
    in their names. Clusters are matched from step to step, so that an image
    counts as moved only when it leaves its group. Accuracy is shown where
    labels stand for classes, by their names or by --class-map. --out draws the
    measures by step above maps colored by label and by prediction.
    """
    from lookalike_indexer.experiments import evolution as experiment
    from lookalike_indexer.experiments.class_map import read_class_map

    names = read_class_map(Path(class_map_file)) if class_map_file else None
    folder = open_out(out)
    if checkpoints:
        if image is not None:
            open_view(collection).row_of_key(image)  # check the key before hours of embedding
        _make(collection, checkpoints, options)
    elif options["clusters"] or options["gpus"] or options["preprocess"]:
        raise UsageError("--clusters, --gpus and --preprocess require --checkpoints; add --checkpoints.")
    view = open_view(collection, options["class_names"])
    model = options["name"] or options["model"]
    row = view.row_of_key(image) if image is not None else None
    result = experiment.evolution(view, model=model, k=neighbors, sample=sample, seed=options["seed"], class_map=names)
    if folder is not None:
        from lookalike_indexer.charts.evolution import evolution_chart

        folder.save("evolution", evolution_chart(result))
        if any(result.tables["map"].column("prediction").to_pylist()):
            folder.save("evolution-predictions", evolution_chart(result, "prediction"))
        folder.print_summary(as_json)
    keep_result(view, result, keep, as_json)
    if as_json:
        click.echo(for_programs(result))
        return
    path = shown(experiment.trace(view, result, row), _PATH, most=1000) if row is not None else ""
    print_all(shown(result.tables["steps"], _STEPS, most=1000), path, findings(result))


def _make(collection: str, checkpoints: tuple[str, ...], options: dict[str, Any]) -> None:
    """Embed and cluster the checkpoints, and publish them as one generation."""
    from lookalike_indexer.cli.embed_options import embed_settings
    from lookalike_indexer.cli.progress import TerminalProgress
    from lookalike_indexer.clustering.choice import check_clusters
    from lookalike_indexer.clustering.settings import ClusterSettings
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.collection.lock import writing
    from lookalike_indexer.embedding.checkpoints import checkpoint_files, run_checkpoints

    if not options["model"]:
        raise UsageError("--checkpoints needs --model: the torchvision model that they are checkpoints of.")
    files = checkpoint_files(checkpoints)
    storage = open_storage(collection)
    source = generations.require_latest(storage).source.uri
    embedding = embed_settings(source=source, layers=(), pools=(), **options)
    clustering = ClusterSettings(clusters=options["clusters"], seed=options["seed"])
    with writing(storage):
        latest = generations.require_latest(storage)
        check_clusters(clustering.clusters, latest.rows(latest.images), options["name"] or options["model"])
        draft = run_checkpoints(storage, latest, files, embedding, clustering, TerminalProgress())
        generations.publish(storage, draft)
