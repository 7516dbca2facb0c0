"""Fixtures that run suites as users run them, with the quick sizes, and read their rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lookalike_benchmarks import results
from lookalike_benchmarks.cli import bench as command

Rows = list[dict[str, Any]]
Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path) -> Invoke:
    """Run a suite with --quick and further options."""

    def run(suite: str, *options: str) -> Result:
        arguments = [suite, "--quick", "--out", str(tmp_path / "results"), *options]
        return CliRunner().invoke(command, arguments, catch_exceptions=False)

    return run


@pytest.fixture
def bench(invoke: Invoke, tmp_path: Path) -> Callable[..., Rows]:
    """Run a suite and return its rows, which must have labels and only finite numbers."""

    def run(suite: str, *options: str) -> Rows:
        result = invoke(suite, *options)
        assert result.exit_code == 0, result.output
        rows = list(results.read(tmp_path / "results", suite))
        assert rows
        for row in rows:
            assert row["suite"] == suite
            assert row["params"]
            assert row["machine"]["cores"] >= 1
            assert "faiss-gpu" in row["versions"] or "faiss-cpu" in row["versions"]
            assert row["measured"]
            for name, value in row["measured"].items():
                assert math.isfinite(value), (row["case"], name)
                # An exponent of growth can be 0, or negative on a busy machine.
                may_be_none = "recall" in name or "failed" in name
                assert value > 0 or (value == 0 and may_be_none) or "exponent" in name, (row["case"], name)
        assert len({row["case"] for row in rows}) == len(rows), "a case is measured twice"
        return rows

    return run
