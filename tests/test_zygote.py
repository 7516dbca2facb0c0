"""The processes that tests start are forks, which import nothing again."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
from tests import zygote

PROGRAM = [sys.executable, "-m", "tests.programs.tell_fork"]


def told() -> str:
    return subprocess.run(PROGRAM, capture_output=True, text=True, check=True, timeout=240).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every process is a new interpreter")
def test_processes_are_forks_despite_heavy_imports() -> None:
    for name in ("faiss", "matplotlib.pyplot", "sklearn.cluster", "torch"):
        importlib.import_module(name)
    assert told() == "True"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every process is a new interpreter")
def test_variables_set_by_libraries_do_not_stop_forks(monkeypatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert told() == "False"
    zygote.restore_environment()
    assert told() == "True"


@pytest.mark.own_process
def test_test_can_ask_for_new_interpreters() -> None:
    assert told() == "False"


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="this is no worker of pytest-xdist")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every process is a new interpreter")
def test_workers_of_xdist_are_forks_too() -> None:
    assert zygote.is_fork()
