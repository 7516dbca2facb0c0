"""What all chapters are made from: the view, thumbnails, and the image and label that serve as examples."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lookalike_indexer.errors import IndexerError
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.class_map import class_map
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View
from lookalike_indexer.pictures.thumbnails import Thumbnails


@dataclass(frozen=True)
class Examples:
    """The examples that the report is asked to show, "" for a choice by the collection, and the seed."""

    image: str = ""
    label: str = ""
    seed: int = 1234


class Context:
    """A collection while its report is made."""

    def __init__(self, view: View, asked: Examples) -> None:
        self.view, self.asked = view, asked
        self.thumbnails = Thumbnails(view, 128)

    def check(self) -> None:
        """NotFoundError when the image or the label asked for is not there."""
        if self.asked.image:
            self.view.row_of_key(self.asked.image)
        if self.asked.label:
            self.view.label_code(self.asked.label)

    @functools.cached_property
    def row(self) -> int:
        """The image asked for, or the one that the default space's model is surest of and wrong about, or the first."""
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
        """The label asked for, or that of several images of which the least are in its largest cluster.

        NotBuiltError: no labels, or no clustering.
        """
        if self.asked.label:
            return self.view.label_names[self.view.label_code(self.asked.label)]
        lines = class_matrix(self.view).tables["labels"].to_pylist()
        most = max(line["images"] for line in lines)
        large = [line for line in lines if 2 * line["images"] >= most]
        return str(min(large, key=lambda line: (line["share"], line["label"]))["label"])

    def kept(self, kind: str) -> Result | None:
        """The first stored result of a kind that is still true of the collection, if any."""
        manifest = self.view.reader.manifest
        for name, entry in sorted(manifest.results.items()):
            if entry.kind == kind and not stored_results.out_of_date(manifest, name):
                return stored_results.load(self.view.reader, name)
        return None
