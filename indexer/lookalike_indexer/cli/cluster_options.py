"""Options of the commands that cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lookalike_indexer.collection.strategy import STRATEGIES, Strategy

if TYPE_CHECKING:
    from lookalike_indexer.clustering.settings import ClusterSettings

F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(command: F) -> F:
    """Add --clusters, --strategy, --spherical, --iterations, --restarts and --points-per-centroid to a command.

    The command itself defines --space, --metric, --seed and --gpus, which it shares with other stages. It defines
    --name if it makes only one clustering.
    """
    for option in reversed(
        [
            click.option(
                "--clusters",
                type=click.IntRange(min=1),
                metavar="K",
                help="Number of clusters.  [default: the number of labels, else about sqrt(images / 2)]",
            ),
            click.option(
                "--strategy",
                type=click.Choice(STRATEGIES),
                help="Method that finds the centroids. An image belongs to the nearest one.  [default: kmeans]",
            ),
            click.option("--spherical", is_flag=True, help="The same as --strategy spherical."),
            click.option(
                "--iterations", type=click.IntRange(min=1), default=25, show_default=True, help="k-means iterations."
            ),
            click.option(
                "--restarts",
                type=click.IntRange(min=1),
                help="Times to start k-means; a local search from these starts keeps the least inertia.  "
                "[default: 30, fewer for large clusterings]",
            ),
            click.option(
                "--points-per-centroid",
                type=click.IntRange(min=1),
                default=256,
                show_default=True,
                help="Train on a sample of at most this many images for each cluster, by default of 10,000 at least.",
            ),
        ]
    ):
        command = option(command)
    return command


def cluster_settings(**options: Any) -> ClusterSettings:
    """Return the clustering settings from a command's options, and ignore the options of other stages.

    `gpus` is the text of --gpus. Raise UsageError or DeviceError for an invalid value.
    """
    import faiss

    from lookalike_indexer.clustering.settings import ClusterSettings
    from lookalike_indexer.devices import parse_gpus
    from lookalike_indexer.errors import UsageError

    strategy: Strategy = options.get("strategy") or ("spherical" if options["spherical"] else "kmeans")
    if options["spherical"] and strategy != "spherical":
        raise UsageError(f"--spherical means --strategy spherical; leave out --spherical or --strategy {strategy}.")

    return ClusterSettings(
        space=options.get("space") or "",
        clusters=options["clusters"],
        name=options.get("name"),
        metric=options.get("metric", "cosine"),
        strategy=strategy,
        seed=options.get("seed", 1234),
        iterations=options["iterations"],
        restarts=options["restarts"],
        points_per_centroid=options["points_per_centroid"],
        gpus=tuple(parse_gpus(options.get("gpus") or "", faiss.get_num_gpus())),
    )
