"""The binary map, and the colors of its points."""

import json
import struct

import numpy as np
import pytest

from lookalike import ProtocolError, StoredResult
from lookalike.explorer.api_map import map_columns, map_names, pack

KINDS = {"float32": "<f4", "float64": "<f8", "int32": "<i4"}


def unpack(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Parse a map as the page's script does."""
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    assert (4 + length) % 8 == 0  # alignment of typed arrays
    columns = {
        name: np.frombuffer(data, KINDS[each["dtype"]], each["length"], 4 + length + each["offset"])
        for name, each in header["columns"].items()
    }
    return header, columns


def test_columns_come_out_as_they_went_in():
    columns = {
        "id": np.array([0, 1, 2**53], np.float64),
        "x": np.array([0.5, -1, 2], np.float32),
        "c": np.array([1, -1, 7], np.int32),
    }
    header, found = unpack(pack({"name": "map/ünï"}, columns))
    assert header["name"] == "map/ünï"
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], values)


def test_first_map_is_one_that_keeps_neighbors_together():
    def stored(name: str, **settings: str) -> StoredResult:
        return StoredResult(name, name.partition("/")[0], settings, {"map": 1}, {}, (), False)

    made = [
        stored("evolution/a", method="umap"),
        stored("map/a", method="pca"),
        stored("map/b", method="tsne"),
        stored("matrix/a"),
        stored("map/c", method="umap"),
    ]
    assert map_names(made) == ["map/b", "map/c", "map/a", "evolution/a"]
    assert map_names(made[3:4]) == []


def test_texts_become_codes_and_missing_values_minus_one():
    table = {
        "id": np.array([3, 4, 5]),
        "x": np.array([0.0, 1, 2]),
        "y": np.array([0.0, 1, 2]),
        "step": ("2", "10", "2"),
        "label": ("b", None, "a"),
        "cluster": np.array([1.0, np.nan, 3.0]),
        "score": np.array([0.5, 1.5, 2.5]),
        "pairs": np.zeros((3, 2)),
        "lists": (np.zeros(1), np.zeros(2), np.zeros(0)),
    }
    columns, categories = map_columns(table)
    assert set(columns) == {"id", "x", "y", "step", "label", "cluster"}
    assert categories == {"step": ["2", "10"], "label": ["a", "b"]}
    assert columns["step"].tolist() == [0, 1, 0]
    assert columns["label"].tolist() == [1, -1, 0]
    assert columns["cluster"].tolist() == [1, -1, 3]
    assert columns["x"].dtype == np.float32


def test_table_without_places_is_rejected():
    with pytest.raises(ProtocolError, match="no places"):
        map_columns({"id": np.arange(3), "x": np.arange(3)})


def test_all_labels_and_clusters_are_returned(page):
    header, columns = unpack(page.get("/api/colors", params={"by": "label"}).content)
    names = [*header["categories"]["code"], None]
    assert names == ["cats", "dogs", None]
    assert [names[code] for code in columns["code"]] == ["dogs"] * 5 + ["cats"] * 5 + [None]
    _, columns = unpack(page.get("/api/colors", params={"by": "cluster", "clustering": "toy/halves"}).content)
    assert dict(zip(columns["id"].tolist(), columns["code"].tolist(), strict=True)) == {
        **dict.fromkeys(range(5), 0),
        **dict.fromkeys(range(5, 10), 1),
    }
    assert page.get("/api/colors", params={"by": "magic"}).status_code == 400


def test_colors_are_read_once_for_a_generation(page, toy):
    first = page.get("/api/colors").content
    toy.calls.clear()
    assert page.get("/api/colors").content == first
    assert toy.calls == ["GetCollection"]
    toy.generation = 2
    page.get("/api/colors")
    assert "ListImages" in toy.calls


def test_unknown_map_error_lists_the_available_maps(page):
    reply = page.get("/api/map", params={"name": "map/none"})
    assert reply.status_code == 404
    assert "it has: map/toy" in reply.json()["error"]
