"""Identity of an embedding space as plain data: model, weights, preprocessing, layer, pooling."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from lookalike_indexer.collection.canonical import canonical

Pooling = Literal["avg", "max", "top10"]
Metric = Literal["cosine", "l2"]

# The `arch` of imported vectors, whose network is unknown.
IMPORTED = "imported"
# The `arch` prefix of open_clip models, and the node whose vectors are comparable with those of texts.
OPEN_CLIP = "open_clip/"
TEXT_LAYER = "embedding"


@dataclass(frozen=True)
class PreprocessingSpec:
    """The transforms of torchvision's weights as explicit values.

    `resize` is the length in pixels that the shorter side is scaled to; `crop` the side of the central square; `mean`
    and `std` are for RGB in 0..1.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    antialias: bool


@dataclass(frozen=True)
class WeightsSpec:
    """The origin of a network's weights.

    `kind` is "imagenet" (`name` is torchvision's or timm's name of the weights), "package" (`name` is that of an
    installed package), "file" (`name` is the path), "open_clip" (`name` is open_clip's tag of them) or "untrained"
    (`name` is the seed). `digest` is the SHA-256 of the file, or of the state itself if there is no file.
    """

    kind: Literal["imagenet", "package", "file", "open_clip", "untrained"]
    name: str
    digest: str

    @property
    def pretrained(self) -> bool:
        return self.kind != "untrained"

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class ModelSpec:
    """A network with its weights and preprocessing.

    `arch` is torchvision's name of it, `timm/NAME` or `open_clip/NAME`. `classes` is 0 for weights without a
    classifier: such a model embeds, but makes no predictions.
    """

    arch: str
    classes: int
    weights: WeightsSpec
    preprocessing: PreprocessingSpec

    @property
    def classifies(self) -> bool:
        return self.classes > 0


@dataclass(frozen=True)
class SpaceSpec:
    """The definition of an embedding space: a node of a model, and the pooling of its feature map."""

    model: ModelSpec
    layer: str
    pooling: Pooling

    @property
    def takes_text(self) -> bool:
        """Return whether texts have vectors in the space as well."""
        return self.model.arch.startswith(OPEN_CLIP) and self.layer == TEXT_LAYER

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of everything that determines whether two embeddings are comparable.

        A weights file is identified by its digest, not by its path.
        """
        model = self.model
        identity = {
            "arch": model.arch,
            "classes": model.classes,
            "weights": model.weights.digest,
            "pretrained": model.weights.pretrained,
            "preprocessing": model.preprocessing,
            "layer": self.layer,
            "pooling": self.pooling,
        }
        return digest_of(identity)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON: equal settings and inputs give equal digests."""
    return hashlib.sha256(canonical(value)).hexdigest()
