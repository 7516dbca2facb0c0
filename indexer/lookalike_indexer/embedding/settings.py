"""What an embedding run is asked to do."""

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
    """What a model is called in a collection by default: its name, without "timm/" or "open_clip/"."""
    return model.removeprefix("timm/").removeprefix(OPEN_CLIP)


@dataclass(frozen=True)
class EmbedSettings:
    """Everything that `lookalike embed` can be told.

    `source` is what `open_source` takes; `labels` a table of key and label.
    `exclude` are gitignore patterns of paths to leave out; none means those of
    the collection. `source_moved` lets a collection follow a source that was
    elsewhere before. `model` is a torchvision model; "" takes the
    collection's, else DEFAULT_MODEL. `weights` is "imagenet[:NAME]",
    "untrained[:SEED]" or a file; "" takes those of the collection's model of
    that name, else DEFAULT_WEIGHTS (see `defaults.settled`).
    `preprocess` names the published weights whose transforms to use; "" keeps
    the model's, or takes those of the weights themselves. `class_names` is
    "imagenet" or a file (see `class_names_file`); "" keeps the model's. `layers` are spaces
    besides those that the model has; a new model has its default one. `name`
    is what the model is called in the collection, its architecture when
    empty. `dtype` is the stored type; None keeps the model's, float32 for a
    new one. None for `batch_size` and `workers` means
    a choice by device. `decode` "gpu" decodes JPEGs on the GPUs, `compile`
    compiles the network for them. `devices` are torch's names; with `elsewhere`
    they are those of other machines, and `compute` is what these can do.
    `max_image_bytes` and `max_pixels` are the most that an image may have,
    encoded and decoded; None takes the collection's limits, else
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
                raise UsageError(f"{option} needs a GPU, and none is used here; leave it out.")

    @property
    def alias(self) -> str:
        """What the model is called in the collection, once the settings are settled."""
        return self.name or alias_of(self.model) or DEFAULT_MODEL

    @property
    def limits(self) -> ImageLimits:
        """What an image may cost, once the settings are settled."""
        return ImageLimits(
            self.max_image_bytes or DEFAULT_LIMITS.max_bytes, self.max_pixels or DEFAULT_LIMITS.max_pixels
        )

    @property
    def images_per_batch(self) -> int:
        return self.batch_size or (_CPU_BATCH if self.devices[0] == "cpu" else _GPU_BATCH)

    @property
    def workers_per_device(self) -> int:
        """Decoding processes beside each device: as many as there are processors, shared among the devices."""
        return self.workers or max(1, processors() // len(self.devices))

    def space_name(self, node: Node | None) -> str:
        """The space of a node, or of the default layer for None."""
        if node is None:
            return self.alias
        return checked_name(f"{self.alias}.{node.layer}.{node.pooling}", "space")
