"""Labels of a collection with the number of images of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from lookalike._columns import Columns, Int64
from lookalike._notebook import html
from lookalike._notebook.frames import Column


class Label(NamedTuple):
    """A label and its number of images."""

    label: str
    images: int


@dataclass(frozen=True, eq=False, repr=False)
class Labels(Columns[Label]):
    """Labels as columns of length n, sorted by name: `labels`, and `images`, int64, (n,), the images of each."""

    labels: tuple[str, ...]
    images: Int64

    _sliced: ClassVar = ("labels", "images")

    def __len__(self) -> int:
        return len(self.labels)

    def _table(self) -> Mapping[str, Column]:
        return {"label": self.labels, "images": self.images}

    def _row(self, index: int) -> Label:
        return Label(self.labels[index], int(self.images[index]))

    def _repr_html_(self) -> str:
        columns = {"label": self.labels, "images": self.images}
        return html.box(html.heading("Labels", faint=str(len(self))), html.table(columns, len(self)))

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self.labels[:3]))
        return f"<Labels {len(self)}: {names}{', ...' if len(self) > 3 else ''}>"
