"""scripts/under_load.py: repeated runs beside busy processes, which end with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "under_load.py"
# Prints the children of its parent: the busy processes and itself.
SIBLINGS = "import psutil; print([child.pid for child in psutil.Process().parent().children()])"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_each_run_has_its_busy_processes_and_none_is_left() -> None:
    cores = len(os.sched_getaffinity(0))
    done = run("--times", "2", "--busy", "1", "--", sys.executable, "-c", SIBLINGS)
    assert done.returncode == 0, done.stderr
    first, found, second, again = done.stdout.splitlines()
    assert [first, second] == [f"run {number} of 2 beside {cores} busy processes" for number in (1, 2)]
    pids = {int(pid) for line in (found, again) for pid in line.strip("[]").split(",")}
    assert len(pids) == cores + 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_first_failure_ends_the_run_with_its_status() -> None:
    done = run("--times", "5", "--busy", "0", "--", sys.executable, "-c", "raise SystemExit(7)")
    assert done.returncode == 7
    assert done.stdout.splitlines() == ["run 1 of 5 beside 0 busy processes"]
    assert "run 1 failed with 7" in done.stderr


def test_mistakes_are_reported() -> None:
    assert "--times must be at least 1" in run("--times", "0", "--", "true").stderr
