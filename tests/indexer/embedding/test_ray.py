"""Embedding on a real Ray cluster of one machine: the same bytes, and sentences for unreachable clusters."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import socket
import sys
import tempfile
import warnings

import psutil
import pytest
import torch

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.machines.connect import joined
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Silent

ray = pytest.importorskip("ray", reason="needs the package ray: pip install 'lookalike[ray]'")


def test_an_address_without_a_ray_cluster_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(IndexerError, match=rf"No Ray cluster answers at {address} \(Connection refused\)"),
            joined(address),
        ):
            pass


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


@pytest.mark.slow
def test_a_cluster_makes_the_bytes_of_one_process(
    one_machine,
    tmp_path,
    settings,
    contents,
    monkeypatch,
    request,
):
    made = []
    # A worker with one CPU has one thread, and the number of threads changes the last bits.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    # The fixture joined the cluster already, and a process can join only once.
    cluster = Machines(ray, one_machine)
    for name, machines in (("here", None), ("there", cluster)):
        storage = Storage(tmp_path / name)
        with writing(storage):
            draft, report = run_embed(storage, None, settings, Silent(), machines=machines)
            generations.publish(storage, draft)
        assert (report.embedded, report.rejected) == (20, 3)
        made.append(contents(storage))
    assert made[0] == made[1]
