"""A real Ray cluster of one machine, for tests."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
import warnings

import psutil
import pytest

ray = pytest.importorskip("ray", reason="needs the package ray: pip install 'lookalike[ray]'")


def end_processes_of(folder):
    """End the processes that Ray started for a session in this folder."""
    ray.shutdown()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if folder in " ".join(child.cmdline()):
                child.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def one_machine(monkeypatch):
    """The address of a Ray cluster with one raylet on this machine, which ends with the test."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Workers import the packages of the checkout, as this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    for attempt in range(3):
        folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # socket paths have a maximum length
        try:
            context = ray.init(
                _node_ip_address="127.0.0.2",  # Ray would replace 127.0.0.1 by the address of this machine
                _temp_dir=folder,
                num_cpus=1,
                object_store_memory=100_000_000,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="CRITICAL",
            )
            break
        except RuntimeError:
            # On a busy machine, Ray gives up its own server too early.
            if attempt == 2:
                raise
            end_processes_of(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    yield context.address_info["gcs_address"]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
