"""Sheet of one image in all layers and poolings, with its cluster in each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lookalike_indexer.charts.image_clusters import cluster_text, frame
from lookalike_indexer.charts.montage import QUERY, Tile
from lookalike_indexer.charts.sheet import Header, SheetRow, sheet
from lookalike_indexer.charts.thumbnails import Thumbnails
from lookalike_indexer.collection.checkpoint_names import natural
from lookalike_indexer.collection.manifest import SpaceEntry
from lookalike_indexer.experiments.result import Result

# Rows of one sheet, and drawn members of a cluster.
_ROWS, _DRAWN = 25, 5
_POOLINGS = ("avg", "max", "top10")


@dataclass(frozen=True)
class _Layer:
    """A row: a layer of a model, and the common name of its spaces' clusterings."""

    model: str
    layer: str
    clustering: str

    @property
    def order(self) -> tuple[Any, ...]:
        """The sort key: models by name, layers by the numbers in their names, the last features at the end."""
        return natural(self.model), not self.layer, natural(self.layer), natural(self.clustering)


def layer_sheets(
    result: Result, row: int, spaces: Mapping[str, SpaceEntry], thumbnails: Thumbnails
) -> Iterator[tuple[str, Image.Image]]:
    """Yield sheets of at most 25 rows, by file name: layers below each other, poolings side by side.

    Each cell has the image's cluster in that space, and its members most similar to the image: in a green frame with
    the same label, else in a red one.
    """
    lines = result.tables["clusters"].to_pylist()
    poolings = [name for name in _POOLINGS if any(spaces[line["space"]].pooling == name for line in lines)]
    cells: dict[_Layer, dict[str, dict[str, Any]]] = {}
    for line in lines:
        space = spaces[line["space"]]
        layer = _layer_of(line["space"], space)
        place = _Layer(space.model, layer, line["clustering"].rsplit("/", 1)[1])
        cells.setdefault(place, {})[space.pooling] = line
    layers = sorted(cells, key=lambda layer: layer.order)
    members = _members(result, thumbnails)
    shown = max(map(len, members.values()), default=0) or 1
    embedded = {(entry.model, _layer_of(name, entry), entry.pooling) for name, entry in spaces.items()}
    key, label = str(result.settings["key"]), str(result.settings["label"])
    lead = Tile(thumbnails.picture(row), [label or "no label"], QUERY)
    pages = range(0, len(layers), _ROWS)
    for number, start in enumerate(pages, 1):
        rows = [
            _row(
                layer, cells[layer], {name: (layer.model, layer.layer, name) in embedded for name in poolings}, members
            )
            for layer in layers[start : start + _ROWS]
        ]
        page = f" (sheet {number} of {len(pages)})" if len(pages) > 1 else ""
        title = f"{key.rsplit('/', 1)[-1]}: its cluster in each layer and pooling{page}"
        told = f"The members of its cluster that are most like it, at most {_DRAWN}"
        told += f"; green frames: {label}, red frames: another label" if label else ""
        heads = [f"{name} pooling" for name in poolings]
        yield (
            f"layers-{number:02d}" if page else "layers",
            sheet(rows, heads, shown, Header(title, lead=lead, text=told)),
        )


def _layer_of(name: str, space: SpaceEntry) -> str:
    """Return the layer in a space's name, "" for the last features."""
    return name.removeprefix(space.model).removeprefix(".").removesuffix(space.pooling).removesuffix(".")


def _members(result: Result, thumbnails: Thumbnails) -> dict[str, list[Tile]]:
    """Return the tiles of each clustering."""
    label = str(result.settings["label"])
    found: dict[str, list[Tile]] = {}
    for member in result.tables["members"].to_pylist():
        tiles = found.setdefault(member["clustering"], [])
        if len(tiles) < _DRAWN:
            (picture,) = thumbnails.pictures_of_ids([member["id"]])
            tiles.append(Tile(picture, [member["label"] or "no label"], frame(member["label"], label)))
    return found


def _row(
    layer: _Layer, cells: Mapping[str, dict[str, Any]], embedded: Mapping[str, bool], members: Mapping[str, list[Tile]]
) -> SheetRow:
    """Return the row of a layer; `embedded` has for each pooling whether there is a space."""
    lines = {pooling: cells.get(pooling) for pooling in embedded}
    lacking = {True: f"not clustered as {layer.clustering}", False: "not embedded"}
    return SheetRow(
        [layer.layer or "last features", layer.model, layer.clustering],
        [members.get(line["clustering"], []) if line else [] for line in lines.values()],
        notes=[cluster_text(line) if line else lacking[embedded[pooling]] for pooling, line in lines.items()],
    )
