"""Difficult files: truncated, fuzzed, bombs. Some trigger old decoder bugs, so only workers decode them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.images.prepare import Prepared
from lookalike_indexer.images.workers import DecodePool, PoolSettings

FORMATS = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"}


@pytest.mark.slow
def test_every_odd_file_is_decoded_or_rejected_with_a_reason(odd_dir: Path, small_spec: PreprocessingSpec):
    with (odd_dir / "manifest.csv").open(newline="") as file:
        known = {row["path"]: row for row in csv.DictReader(file)}
    with DecodePool(PoolSettings(2, timeout=20.0), small_spec) as pool:
        results = dict(pool.stream(((path, str(odd_dir / path)) for path in known), 32))
    assert len(results) == len(known) == 1473

    wrong = []
    decoded = 0
    for path, result in results.items():
        row = known[path]
        if isinstance(result, Prepared):
            decoded += 1
            if path.endswith(".heif"):
                continue  # Pillow, which made the table, cannot read these
            upright = (result.width, result.height)
            sideways = row["exif_orientation"] in set("5678")
            stored = (int(row["width"]), int(row["height"]))
            if row["pillow13_result"] != "ok" or upright != (stored[::-1] if sideways else stored):
                wrong.append((path, upright, row))
        else:
            assert result.reason
            assert "\n" not in result.reason
            assert not result.reason.startswith(("the decoder crashed", "decoding took")), path
    # Pillow rotates TIFF files itself, and the table does not list their EXIF data.
    assert [entry for entry in wrong if entry[2]["format"] != "TIFF"] == []
    readable = [path for path, row in known.items() if row["pillow13_result"] == "ok" and row["format"] in FORMATS]
    refused = [path for path in readable if not isinstance(results[path], Prepared)]
    # Damaged after their pixels, or too large, or too thin.
    assert len(refused) <= 0.03 * len(readable), refused
    assert decoded >= 680
