"""Embedding on a real Ray cluster of one machine: the same bytes, and sentences for unreachable clusters."""

from __future__ import annotations

import socket

import pytest
import torch
from tests.indexer.machines.real_ray import one_machine, ray

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.machines.connect import joined
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.progress import Silent

__all__ = ["one_machine"]


def test_address_without_a_ray_cluster_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(IndexerError, match=rf"No Ray cluster answers at {address} \(Connection refused\)"),
            joined(address),
        ):
            pass


@pytest.mark.slow
def test_cluster_writes_the_bytes_of_one_process(
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
