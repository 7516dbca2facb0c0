from __future__ import annotations

import math
import subprocess
import sys

import pytest

from lookalike_benchmarks.processes import in_fresh_process, resident


def test_collection_is_followed_from_the_disk_to_the_search(bench):
    rows = {row["case"]: row for row in bench("scale", "--set", "memory=", "--set", "bookkeeping=")}
    told = "2,000 images, cpu"
    assert list(rows) == [
        f"write {told}",
        f"build {told}",
        f"load over reading the index file, {told}",
        f"start over reading the index file, {told}, page cache warm",
        f"start over reading the index file, {told}, page cache dropped",
        f"search and swap {told}",
        "look up 1,000 neighbors of 3,000 images",
    ]
    for case, row in rows.items():
        if not case.startswith("start"):
            assert row["measured"]["base_rss_mib"] <= row["measured"]["peak_rss_mib"]
    assert 0.5 < rows[f"build {told}"]["measured"]["recall_at_10"] <= 1
    for case in ("load", "start"):
        assert any(row["measured"]["ratio_median"] > 0 for name, row in rows.items() if name.startswith(case))
    served = rows[f"search and swap {told}"]
    # Published when written, when built, and once more during searches.
    assert served["measured"]["served_generation"] == 3
    assert served["measured"]["longest_ms_meanwhile"] >= served["measured"]["p50_ms_meanwhile"]
    assert served["params"]["nprobe"] >= 1


@pytest.mark.slow
def test_memory_of_embedding_is_compared(bench):
    rows = {row["case"]: row for row in bench("scale", "--set", "sizes=", "--set", "lookups=", "--set", "bookkeeping=")}
    assert set(rows) == {
        "memory of embedding 20 images",
        "memory of embedding 40 images",
        "memory of embedding, most images over fewest",
    }
    small, large = (rows[f"memory of embedding {images} images"]["measured"] for images in (20, 40))
    ratio = rows["memory of embedding, most images over fewest"]["measured"]
    assert small["with_workers_mib"] > small["own_mib"] > 100
    assert ratio["ratio_own"] == pytest.approx(large["own_mib"] / small["own_mib"])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_bookkeeping_is_followed_over_the_sizes(bench):
    only = ["--set", "sizes=", "--set", "lookups=", "--set", "memory="]
    rows = {row["case"].removeprefix("bookkeeping: "): row for row in bench("scale", *only)}
    assert len(rows) == 11
    for images, parts in ((1500, 2), (3000, 3)):
        listed = rows[f"list {images:,} images again"]
        assert listed["params"] == {"images": images, "parts": parts}
        assert listed["measured"]["us_an_image"] == pytest.approx(1e6 * listed["measured"]["relist_seconds"] / images)
        joined = rows[f"verify the join of {images:,} images"]["measured"]
        assert joined["join_ms_a_part"] == pytest.approx(1e3 * joined["join_seconds"] / parts)
        assert f"nothing to embed of {images:,} images" in rows
        followed = rows[f"follow one change among {images:,} images"]["measured"]
        assert 0 < followed["share_read"] < 1
    first, last = (rows[f"the manifest of {images:,} images"]["measured"] for images in (1500, 3000))
    growth = rows["exponents of growth"]["measured"]
    # With two sizes, the slope is that of the line through both.
    expected = math.log(last["bytes_to_add_a_part"] / first["bytes_to_add_a_part"]) / math.log(2)
    assert growth["exponent_bytes_to_add_a_part"] == pytest.approx(expected)
    assert set(growth) == {
        f"exponent_{name}" for name in ("relist", "resume", "join", "encode", "decode", "sync", "bytes_to_add_a_part")
    }


@pytest.mark.own_process
def test_memory_of_a_fresh_process_is_measured_alone():
    ours = bytearray(b"x" * (300 << 20))
    fresh = in_fresh_process(eval, "len(b'x' * (100 << 20))")
    assert fresh.result == 100 << 20
    assert 95 <= fresh.peak_rss_mib - fresh.base_rss_mib < 150
    assert fresh.base_rss_mib < len(ours) >> 20


def test_command_that_fails_is_not_measured():
    with pytest.raises(subprocess.CalledProcessError):
        resident([sys.executable, "-c", "raise SystemExit(3)"])
