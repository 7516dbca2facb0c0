"""Columns of images that a generation lacks, or has with other values, for filters and replies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.arrays import Int32, Int64
from lookalike_indexer.embedding.embedding_result import Classes
from lookalike_indexer.filters import sources
from lookalike_indexer.filters.columns import Coded, Column, Kind, Numbers, Test
from lookalike_indexer.filters.sources import Assignment, FilterColumns, Prediction
from lookalike_indexer.filters.texts import SortedTexts
from lookalike_indexer.filters.tree import Operator
from lookalike_server.live.changes import Values, arrow
from lookalike_server.live.clusterings import LiveClustering
from lookalike_server.live.columns import LiveColumns


@dataclass(frozen=True)
class Predicted:
    """A model's predictions for new images: rows (n,) of the view, ascending, and their classes."""

    rows: Int64
    classes: Classes


class Overlay(FilterColumns):
    """Columns of some rows of a view, ascending: those of new images, and of images with changed values.

    Row i of each column is row `rows[i]` of the view.
    """

    def __init__(
        self,
        base: FilterColumns,
        columns: LiveColumns,
        said: Callable[[], tuple[Int64, Sequence[Values]]],
        formats: Callable[[int], str],
        bytes_of: Callable[[int], int],
        uri_of: Callable[[int], str],
        clusterings: dict[str, LiveClustering],
        predictions: Mapping[str, Predicted],
        class_names: Callable[[str], Sequence[str]],
    ) -> None:
        """`said` returns the rows and their attribute values; it is called on first use.

        `formats`, `bytes_of`, and `uri_of` take the row of a new image. `predictions` are those of
        new images, by model. `class_names` takes the name of a model.
        """
        self._base, self._columns, self._said = base, columns, said
        self.format_of, self.bytes_of, self.uri_of, self._clusterings = formats, bytes_of, uri_of, clusterings
        self.predictions, self._class_names = predictions, class_names
        self.kinds = base.kinds
        self._made: dict[tuple[str, str], Any] = {}

    @functools.cached_property
    def _known(self) -> tuple[Int64, Sequence[Values]]:
        return self._said()

    @property
    def rows(self) -> Int64:
        """Rows of the view, ascending."""
        return self._known[0]

    @property
    def _values(self) -> Sequence[Values]:
        return self._known[1]

    @property
    def said(self) -> dict[int, Values]:
        """Attribute values of each row."""
        return dict(zip(self.rows.tolist(), self._values, strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> Int64:
        return self._columns.ids[self.rows]

    def column(self, name: str) -> Column:
        known = self._made.get(("column", name))
        if known is None:
            known = self._made["column", name] = self._column(name)
        found: Column = known
        return found

    def array(self, name: str) -> pa.Array:
        """Return a column as an Arrow array."""
        kind, columns, rows = self.kinds[name], self._columns, self.rows
        of_images: dict[str, Callable[[], pa.Array]] = {
            "id": lambda: pa.array(self.ids),
            "key": lambda: pa.array(columns.keys(rows), pa.string()),
            "label": lambda: pa.array([text or None for text in columns.labels(rows)], pa.string()),
            "width": lambda: pa.array(columns.widths(rows).astype(np.int64)),
            "height": lambda: pa.array(columns.heights(rows).astype(np.int64)),
            "bytes": lambda: self._mixed(name, kind, self.bytes_of),
            "format": lambda: self._mixed(name, kind, self.format_of),
        }
        return of_images[name]() if name in of_images else self._attribute(name, kind)

    def _column(self, name: str) -> Column:
        kind, array = self.kinds[name], pa.chunked_array([self.array(name)])
        places = np.arange(len(self.rows))
        if kind == "string":
            return sources.coded(array, places, len(places))
        if kind == "list<string>":
            return sources.postings(array, places, len(places))
        return sources.numbers(kind, array, places, len(places))

    def _mixed(self, name: str, kind: Kind, of_new: Callable[[int], Any]) -> pa.Array:
        """Return a column that callers cannot set. Rows of the generation keep their values."""
        base = len(self._base)
        old = self.rows < base
        values = self._base.column(name).take(self.rows[old]).to_pylist() + [
            of_new(row) for row in self.rows[~old].tolist()
        ]
        return arrow(kind, values)

    def _attribute(self, name: str, kind: Kind) -> pa.Array:
        base = len(self._base)
        # A row of the generation keeps the values that were not set.
        kept = np.array(
            [row < base and name not in values for row, values in zip(self.rows.tolist(), self._values, strict=True)],
            np.bool_,
        )
        own = arrow(kind, [values.get(name) for values in self._values])
        if not kept.any():
            return own
        theirs = self._base.column(name).take(self.rows[kept])
        order = np.where(kept, np.cumsum(kept) - 1 + len(own), np.arange(len(own)))
        return pa.concat_arrays([own, theirs.cast(own.type)]).take(pa.array(order))

    def clustering(self, name: str) -> str:
        return self._base.clustering(name)

    def model(self, name: str) -> str:
        return self._base.model(name)

    def assignment(self, clustering: str) -> Assignment:
        stored = self._clusterings[clustering].stored(self.ids)
        present = stored.clusters >= 0
        distances = np.where(present, stored.distances, np.float32(0))
        return Assignment(
            Numbers("int64", stored.clusters.copy(), present), Numbers("float64", distances.astype(np.float32), present)
        )

    def prediction(self, model: str) -> Prediction:
        """Return predictions of the generation and of new images. An image that came as a vector has none."""
        base = self._base.prediction(model)
        rows, known = self.rows, len(self._base)
        old = rows < known
        classes = base.classes.take(rows[old]).to_pylist() + [None] * int(np.count_nonzero(~old))
        probabilities = np.zeros(len(rows), np.float32)
        if model in self.predictions:
            names, new = self._class_names(model), self.predictions[model]
            places = np.searchsorted(rows, new.rows).tolist()
            for place, index in zip(places, new.classes.indexes[:, 0].tolist(), strict=True):
                classes[place] = names[index]
            probabilities[places] = new.classes.probabilities[:, 0]
        present = np.array([name is not None for name in classes], np.bool_)
        some = base.probabilities.take(rows[old]).fill_null(0).to_numpy(zero_copy_only=False)
        probabilities[old] = some
        encoded = pa.array(classes, pa.large_string()).dictionary_encode()
        texts = SortedTexts.of(encoded.dictionary)
        ranks = np.append(texts.ranks, -1)[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        return Prediction(Coded.of(ranks, texts), Numbers("float64", probabilities, present))


class LiveFilterColumns(FilterColumns):
    """Columns of all rows of a view, for replies. `LiveFilters` evaluates filters."""

    def __init__(self, base: FilterColumns, columns: LiveColumns, overlay: Overlay) -> None:
        self._base, self._columns, self._overlay = base, columns, overlay
        self.kinds = base.kinds
        self._groups: dict[str, tuple[Int32, int]] = {}

    def __len__(self) -> int:
        return len(self._columns.ids)

    @property
    def attributes(self) -> list[str]:
        return self._base.attributes

    @property
    def ids(self) -> Int64:
        return self._columns.ids

    @property
    def nbytes(self) -> int:
        return self._base.nbytes

    def column(self, name: str) -> Column:
        return _Mixed(self.kinds[name], self._base, self._overlay, name)

    def groups(self, name: str) -> tuple[Int32, int]:
        known = self._groups.get(name)
        if known is None:
            known = self._groups[name] = self.column(name).groups()
        return known

    def clustering(self, name: str) -> str:
        return self._base.clustering(name)

    def model(self, name: str) -> str:
        return self._base.model(name)


class _Mixed:
    """A column of a view: the generation's column, with the overlay's rows replaced."""

    def __init__(self, kind: Kind, base: FilterColumns, overlay: Overlay, name: str) -> None:
        self.kind: Kind = kind
        self._base, self._overlay, self._name = base, overlay, name

    @property
    def nbytes(self) -> int:
        return 0

    def test(self, operator: Operator, value: Any) -> Test:
        raise NotImplementedError("filters of a view are evaluated by LiveFilters")

    def test_in(self, values: Iterable[Any], negated: bool) -> Test:
        raise NotImplementedError("filters of a view are evaluated by LiveFilters")

    def test_present(self, negated: bool) -> Test:
        raise NotImplementedError("filters of a view are evaluated by LiveFilters")

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        over = self._overlay.rows
        places = np.searchsorted(over, rows)
        new = places < len(over)
        new[new] = over[places[new]] == rows[new]
        if not new.any():
            return self._base.column(self._name).take(rows)
        own = self._overlay.array(self._name).take(pa.array(places[new]))
        if new.all():
            return own
        theirs = self._base.column(self._name).take(rows[~new])
        order = np.empty(len(rows), np.int64)
        order[~new], order[new] = np.arange(len(theirs)), len(theirs) + np.arange(len(own))
        return pa.concat_arrays([theirs, own.cast(theirs.type)]).take(pa.array(order))

    def groups(self) -> tuple[Int32, int]:
        if self.kind in ("float64", "list<string>"):
            return self._base.column(self._name).groups()
        count = max(len(self._base), int(self._overlay.rows[-1]) + 1 if len(self._overlay.rows) else 0)
        encoded = self.take(np.arange(count)).dictionary_encode()
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        return codes, len(encoded.dictionary)
