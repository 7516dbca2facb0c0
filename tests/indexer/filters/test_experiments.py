"""Experiments on the images that match a filter."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.map2d import map2d as map_command
from lookalike_indexer.cli.matrix import matrix
from lookalike_indexer.cli.oddballs import oddballs as oddballs_command
from lookalike_indexer.collection import generations
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.map2d import map2d
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.oddballs import oddballs
from lookalike_indexer.experiments.view import View
from lookalike_indexer.filters.errors import FilterError, FilterPosition

WHERE = 'flag and "odd name" < 250'


def matching(shop) -> np.ndarray:
    return np.array(
        [
            bool(flag) and (number or 0) < 250
            for flag, number in zip(shop.rows["flag"], shop.rows["odd name"], strict=True)
        ]
    )


def test_matrix_counts_matching_images(shop):
    result = class_matrix(View(shop.reader), where=WHERE)
    keep = matching(shop)
    known = [
        (label, cluster)
        for label, cluster, kept in zip(shop.rows["label"], shop.rows["cluster"], keep, strict=True)
        if kept
    ]
    labeled = [pair for pair in known if None not in pair]
    assert result.figures["images"] == len(labeled)
    assert result.figures["left_out"] == len(known) - len(labeled)
    for row in result.tables["counts"].to_pylist():
        assert row["count"] == labeled.count((row["label"], row["cluster"]))
    sizes = result.tables["clusters"].column("size").to_pylist()
    assert sizes == [sum(cluster == number for _, cluster in known) for number in range(5)]
    assert result.settings["where"] == WHERE
    assert "where" not in class_matrix(View(shop.reader)).settings


def test_oddballs_match_the_filter_and_are_judged_among_all(shop):
    view = View(shop.reader)
    everything = oddballs(view, limit=300).tables["oddballs"].to_pylist()
    some = oddballs(view, limit=300, where=WHERE).tables["oddballs"].to_pylist()
    kept = set(np.array(shop.rows["id"])[matching(shop)].tolist())
    expected = [{**row, "rank": 0} for row in everything if row["id"] in kept]
    assert [{**row, "rank": 0} for row in some] == expected
    assert 0 < len(some) < len(everything)


def test_map_keeps_positions_of_matching_images(shop):
    view = View(shop.reader)
    everything = {row["id"]: row for row in map2d(view).tables["map"].to_pylist()}
    some = map2d(view, where=WHERE).tables["map"].to_pylist()
    assert [row["id"] for row in some] == np.array(shop.rows["id"])[matching(shop)].tolist()
    assert all(row == everything[row["id"]] for row in some)


def test_commands_take_a_filter(shop):
    root = str(shop.storage.root)

    def as_text(command, *options):
        done = CliRunner().invoke(command, ["--collection", root, "--where", WHERE, "--json", *options])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    assert as_text(matrix)["settings"]["where"] == WHERE
    assert as_text(oddballs_command)["settings"]["where"] == WHERE
    nothing = CliRunner().invoke(matrix, ["--collection", root, "--where", "id < 0"])
    assert nothing.output.startswith("No image with a label and a cluster of tiny/five is counted.")
    before = generations.require_latest(shop.storage)
    assert len(as_text(map_command)["tables"]["map"]) == matching(shop).sum()
    # A map of some images does not replace the stored map of all.
    assert generations.require_latest(shop.storage) == before
    as_text(matrix, "--keep", "some")
    assert not stored_results.out_of_date(generations.require_latest(shop.storage), "class_matrix/some")
    done = CliRunner().invoke(matrix, ["--collection", root, "--where", "prize < 3"])
    assert done.exit_code == 2
    assert "There is no column 'prize'" in done.output


def test_error_of_a_filter_crosses_processes():
    error = pickle.loads(pickle.dumps(FilterError(FilterPosition("filter.text", 3), "It is wrong")))  # noqa: S301
    assert (str(error), error.at) == ("It is wrong (at character 3 of the filter).", FilterPosition("filter.text", 3))
    with pytest.raises(FilterError):
        raise error
