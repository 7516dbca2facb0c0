"""Checkpoints of one model in a collection: models with the same name, followed by "@" and the step."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike_indexer.collection.checkpoint_names import checkpoint_alias, natural
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.view import View


@dataclass(frozen=True)
class Step:
    """A checkpoint: its step, and its model, space and clustering ("space/name") in the collection."""

    name: str
    model: str
    space: str
    clustering: str


def steps_of(view: View, model: str = "") -> list[Step]:
    """Return the steps of a model in order; "" means the first model that has any.

    Raise NotBuiltError if there are fewer than two, or one has no clustering.
    """
    there = [name for name in view.reader.manifest.models if "@" in name]
    model = model or (sorted(there)[0].split("@", 1)[0] if there else "")
    names = sorted((name.split("@", 1)[1] for name in there if name.startswith(f"{model}@")), key=natural)
    if len(names) < 2:
        raise NotBuiltError(
            f"The collection {view.reader.name} has {len(names)} checkpoints{f' of {model}' if model else ''}, and an "
            "evolution needs two; make them with: lookalike evolution --checkpoints 'step*.pth' --model ARCH"
        )
    aliases = [checkpoint_alias(model, name) for name in names]
    return [
        Step(name, alias, alias, view.clustering_name(space=alias)) for name, alias in zip(names, aliases, strict=True)
    ]
