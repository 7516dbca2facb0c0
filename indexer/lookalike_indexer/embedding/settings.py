"""Settings of an embedding run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lookalike_indexer.collection.layout import checked_name
from lookalike_indexer.collection.limits import DEFAULT_LIMITS, ImageLimits
from lookalike_indexer.collection.spec import OPEN_CLIP
from lookalike_indexer.errors import UsageError
from lookalike_indexer.models.network import Node
from lookalike_indexer.sources.exclusion import Exclusion
from lookalike_indexer.threads import processors

Dtype = Literal["float16", "float32"]
Decode = Literal["cpu", "gpu"]
DEFAULT_MODEL, DEFAULT_WEIGHTS = "resnet152", "imagenet"
_CPU_BATCH, _GPU_BATCH = 32, 256


def alias_of(model: str) -> str:
    """Return a model's default name in a collection: its name without "timm/" or "open_clip/"."""
    return model.removeprefix("timm/").removeprefix(OPEN_CLIP)


@dataclass(frozen=True)
class EmbedSettings:
    """All settings of `lookalike embed`.

    `source` is what `open_source` takes; `labels` a table of key and label. `exclude` are gitignore patterns of paths
    to leave out; an empty tuple means those of the collection. `source_moved` lets a collection follow a source that
    has moved.

    `model` is a torchvision model; "" takes the collection's, else DEFAULT_MODEL. `weights` is "imagenet[:NAME]",
    "untrained[:SEED]" or a file; "" takes those of the collection's model of that name, else DEFAULT_WEIGHTS (see
    `resolve_defaults`). `preprocess` names the published weights whose transforms to use; "" keeps the model's, or
    takes those of the weights themselves. `class_names` is "imagenet" or a file (see `class_names_file`); "" keeps the
    model's. `layers` are spaces in addition to those that the model has; a new model has its default one. `name` is the
    model's name in the collection; "" means its architecture.

    `dtype` is the stored type; None keeps the model's, float32 for a new one. None for `batch_size` and `workers` means
    a choice by device. `decode` "gpu" decodes JPEGs on the GPUs, `compile` compiles the network for them. `devices` are
    torch's names; with `elsewhere` they are those of other machines, and `compute` is a type that these support.
    `max_image_bytes` and `max_pixels` limit an image, encoded and decoded; None takes the collection's limits, else
    DEFAULT_LIMITS.
    """

    source: str
    labels: str | None = None
    exclude: tuple[str, ...] = ()
    source_moved: bool = False
    model: str = ""
    weights: str = ""
    preprocess: str = ""
    class_names: str = ""
    layers: tuple[Node, ...] = ()
    name: str = ""
    dtype: Dtype | None = None
    compute: str = "auto"
    batch_size: int | None = None
    part_size: int = 1024
    workers: int | None = None
    decode: Decode = "cpu"
    compile: bool = False
    devices: tuple[str, ...] = ("cpu",)
    elsewhere: bool = False
    decode_timeout: float = 30.0
    max_image_bytes: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        checked_name(self.alias, "model")
        Exclusion(self.exclude)
        for value, option in (
            (self.batch_size, "--batch-size"),
            (self.part_size, "--part-size"),
            (self.workers, "--workers"),
            (self.max_image_bytes, "--max-image-bytes"),
            (self.max_pixels, "--max-pixels"),
        ):
            if value is not None and value < 1:
                raise UsageError(f"{option} must be at least 1, not {value}.")
        if not self.devices:
            raise UsageError("At least one device is needed.")
        for option, asked in (("--decode gpu", self.decode == "gpu"), ("--compile", self.compile)):
            if asked and "cpu" in self.devices:
                raise UsageError(f"{option} needs a GPU, but this run uses none; leave the option out.")

    @property
    def alias(self) -> str:
        """The model's name in the collection, for settled settings."""
        return self.name or alias_of(self.model) or DEFAULT_MODEL

    @property
    def limits(self) -> ImageLimits:
        """The limits of an image, for settled settings."""
        return ImageLimits(
            self.max_image_bytes or DEFAULT_LIMITS.max_bytes, self.max_pixels or DEFAULT_LIMITS.max_pixels
        )

    @property
    def images_per_batch(self) -> int:
        return self.batch_size or (_CPU_BATCH if self.devices[0] == "cpu" else _GPU_BATCH)

    @property
    def workers_per_device(self) -> int:
        """The number of decoding processes for each device: the processors, divided among the devices."""
        return self.workers or max(1, processors() // len(self.devices))

    def space_name(self, node: Node | None) -> str:
        """Return the name of a node's space; None means the default layer."""
        if node is None:
            return self.alias
        return checked_name(f"{self.alias}.{node.layer}.{node.pooling}", "space")
