"""A short run of each fuzz target, from its kept corpus; `make fuzz` is the long one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.__main__ import CORPORA, TARGETS

ROOT = Path(__file__).resolve().parents[2]
RUNS = {"experiments": 1000, "filter": 3000, "image": 2000, "manifest": 300, "part": 400, "request": 3000}


def fuzz(target: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    # In a process of its own: the fuzzer exits its process, and a finding may be a crash.
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=240,
        check=False,
    )


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris, which has no wheel here")
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_from_the_kept_corpus(target: str, tmp_path: Path) -> None:
    done = fuzz(target, "--runs", RUNS[target], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    executed = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert executed is not None
    assert int(executed[1]) >= RUNS[target]
    assert list((tmp_path / "build" / "fuzz" / target).iterdir()) == []


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_takes_its_corpus_without_a_fuzzer(target: str) -> None:
    """The corpora are also checked where atheris is not installed."""
    module = pytest.importorskip(f"tests.fuzz.targets.{target}")
    entries = sorted((CORPORA / target).iterdir())
    assert len(entries) >= 3
    for entry in entries:
        assert entry.stat().st_size < 64 << 10
        module.target(entry.read_bytes())


def test_finding_fails_the_run(tmp_path: Path) -> None:
    """A wrong target exits with another code and keeps the input."""
    pytest.importorskip("atheris", reason="needs atheris, which has no wheel here")
    program = (
        "import sys, tests.fuzz.__main__ as m, tests.fuzz.targets.manifest as t\n"
        "def wrong(data): assert b'format' not in data\n"
        "t.target = wrong\n"
        "sys.argv = ['fuzz', 'manifest', '--runs', '50']\n"
        "m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert list((tmp_path / "build" / "fuzz" / "manifest").glob("crash-*"))
