"""Options of the commands that build an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lookalike_indexer.cli.bytes import Bytes

if TYPE_CHECKING:
    from lookalike_indexer.indexing.settings import BuildSettings

F = TypeVar("F", bound=Callable[..., Any])


def build_options(command: F) -> F:
    """Add --index, --nlist, --target-recall, --max-memory and --train-size to a command.

    The command itself defines --space, --metric, --seed and --gpus, which it shares with other stages.
    """
    for option in reversed(
        [
            click.option(
                "--index",
                "index",
                default="auto",
                show_default=True,
                metavar="KIND|FACTORY",
                help="auto, flat, ivf-flat, ivf-fp16, ivf-sq8, ivf-pq, ivf-pqfs, ivf-rabitq, hnsw, or a faiss factory "
                "string. pca128-hnsw, pca128-ivf-sq8 and pca128-flat search 128 principal components first. auto tries "
                "several kinds on a sample of large collections, and takes the fastest.",
            ),
            click.option(
                "--nlist",
                type=click.IntRange(min=1),
                help="Number of inverted lists.  [default: about 4 * sqrt(images), as a power of two]",
            ),
            click.option(
                "--target-recall",
                type=float,
                default=0.95,
                show_default=True,
                help="The default nprobe is the smallest that reaches this recall@10; auto takes an index that does.",
            ),
            click.option(
                "--max-memory",
                type=Bytes(),
                metavar="SIZE",
                help="auto takes an index no larger than this, such as 8GB or 500MiB.",
            ),
            click.option(
                "--train-size",
                type=click.IntRange(min=1),
                help="Train on a sample of at most this many images.  [default: 64 for each list]",
            ),
        ]
    ):
        command = option(command)
    return command


def build_settings(**options: Any) -> BuildSettings:
    """Return the index settings from a command's options, and ignore the options of other stages.

    `gpus` is the text of --gpus. Raise UsageError or DeviceError for an invalid value.
    """
    import faiss

    from lookalike_indexer.collection.manifest import MAIN
    from lookalike_indexer.devices import parse_gpus
    from lookalike_indexer.indexing.early_checks import check_kind
    from lookalike_indexer.indexing.settings import BuildSettings

    settings = BuildSettings(
        space=options.get("space") or "",
        name=options.get("name", MAIN),
        index=options["index"],
        nlist=options["nlist"],
        metric=options.get("metric", "cosine"),
        target_recall=options["target_recall"],
        max_memory=options["max_memory"],
        train_size=options["train_size"],
        seed=options.get("seed", 1234),
        gpus=tuple(parse_gpus(options.get("gpus") or "", faiss.get_num_gpus())),
    )
    check_kind(settings)
    return settings
