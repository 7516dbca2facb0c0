"""What has to be said of whatever is found in a space."""

from __future__ import annotations

from collections.abc import Iterable

from lookalike_indexer.experiments.view import View


def untrained_notes(view: View, spaces: Iterable[str]) -> tuple[str, ...]:
    """A sentence for the models of some spaces whose weights are random; none where all are trained."""
    manifest = view.reader.manifest
    models = sorted({manifest.spaces[space].model for space in spaces})
    random = [model for model in models if not manifest.models[model].spec.weights.pretrained]
    if not random:
        return ()
    return (
        f"UNTRAINED weights: {', '.join(random)}; what lies together there means nothing beyond colour and texture.",
    )
