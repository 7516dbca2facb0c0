"""Difficult files through the whole pipeline: indexed in one run, and sent to a server one by one."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from tests.e2e.conftest import serve_collection

import lookalike as lookalike_client
from lookalike_indexer.collection.reader import CollectionReader

pytestmark = [pytest.mark.xdist_group("odd files"), pytest.mark.slow, pytest.mark.timeout(900)]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def odd_files(odd_dir: Path) -> list[Path]:
    left_out = {"manifest.csv", "SOURCES.md"}
    return sorted(path for path in odd_dir.rglob("*") if path.is_file() and path.name not in left_out)


def test_every_odd_file_is_embedded_or_rejected_and_a_server_lives_through_all(
    odd_files: list[Path], tmp_path: Path, lookalike: Run
) -> None:
    listing = tmp_path / "odd.txt"
    listing.write_text("\n".join(map(str, odd_files)))
    collection = tmp_path / "odd"
    options = ["--model", "squeezenet1_1", "--weights", "untrained:1", "--clusters", "5", "--json"]
    done = lookalike("index", listing, "--collection", collection, *options, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)["embed"]
    assert report["embedded"] + report["rejected"] == len(odd_files) == 1473

    reader = CollectionReader.open(str(collection))
    rejects = reader.rejects("squeezenet1_1").to_pylist()
    assert {row["key"] for row in rejects} | set(reader.images(["key"]).column("key").to_pylist()) == {
        str(path) for path in odd_files
    }
    assert all(row["reason"] and "\n" not in row["reason"] for row in rejects)
    crashed = [row for row in rejects if row["reason"].startswith(("the decoder crashed", "decoding took"))]
    assert crashed == []

    with serve_collection(collection) as address:
        outcomes = Counter(asked(address, odd_files))
        with lookalike_client.Client(address, timeout=120) as client:
            assert client.is_serving()
    assert outcomes.keys() == {"answered", "INVALID_ARGUMENT"}
    assert outcomes.total() == len(odd_files)
    # The limits of a query are lower than those of an indexer.
    assert report["embedded"] - 20 <= outcomes["answered"] <= report["embedded"]


def asked(address: str, files: list[Path]) -> list[str]:
    """Return the reply to each file when sent as a query."""
    with lookalike_client.Client(address, timeout=120) as client:
        client.search(image=files[0], k=1)
        before = _workers()

        def ask(path: Path) -> str:
            try:
                client.search(image=path.read_bytes(), k=1)
            except lookalike_client.InvalidArgumentError:
                # Including files that the client itself does not send, such as an empty one.
                return "INVALID_ARGUMENT"
            except lookalike_client.LookalikeError as error:
                return error.code.name if error.code else type(error).__name__
            return "answered"

        with ThreadPoolExecutor(2) as callers:
            outcomes = list(callers.map(ask, files))
        assert _workers() <= before + 1, "no process is left behind"
    return outcomes


def _workers() -> int:
    return len(psutil.Process().children(recursive=True))
