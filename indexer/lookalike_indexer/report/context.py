"""Context of all chapters: the view, thumbnails, and the example image and label."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.class_map import class_map
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View


@dataclass(frozen=True)
class Examples:
    """The requested examples, "" for a choice by the collection, and the seed."""

    image: str = ""
    label: str = ""
    seed: int = 1234


class Context:
    """The data of a collection that the chapters of a report share."""

    def __init__(self, view: View, asked: Examples) -> None:
        self.view, self.asked = view, asked
        self.thumbnails = Thumbnails(view, 128)

    def check(self) -> None:
        """Raise NotFoundError if the requested image or label does not exist."""
        if self.asked.image:
            self.view.row_of_key(self.asked.image)
        if self.asked.label:
            self.view.label_code(self.asked.label)

    @functools.cached_property
    def row(self) -> int:
        """The row of the requested image, of the most confident mistake of the default space's model, or the first."""
        if self.asked.image:
            return self.view.row_of_key(self.asked.image)
        try:
            model = self.view.reader.space()[1].model
            predicted = self.view.predicted(model)
            mapping = class_map(self.view, model)
        except IndexerError:
            return 0
        known = np.isin(self.view.labels, np.flatnonzero(mapping.accepts.any(1)))
        wrong = known & (predicted.classes[:, 0] >= 0) & ~mapping.hits(self.view.labels, predicted.classes[:, :1])[:, 0]
        return int(np.where(wrong, predicted.probabilities[:, 0], -1).argmax()) if wrong.any() else 0

    @functools.cached_property
    def label(self) -> str:
        """The requested label, or the most scattered of the labels with many images, by its largest cluster.

        Raise NotBuiltError if there are no labels, or there is no clustering.
        """
        if self.asked.label:
            return self.view.label_names[self.view.label_code(self.asked.label)]
        lines = class_matrix(self.view).tables["labels"].to_pylist()
        most = max(line["images"] for line in lines)
        large = [line for line in lines if 2 * line["images"] >= most]
        return str(min(large, key=lambda line: (line["share"], line["label"]))["label"])

    def stored_result(self, kind: str) -> Result | None:
        """Return the first up-to-date stored result of a kind, None if there is none."""
        manifest = self.view.reader.manifest
        for name, entry in sorted(manifest.results.items()):
            if entry.kind == kind and not stored_results.out_of_date(manifest, name):
                return stored_results.load(self.view.reader, name)
        return None
