from __future__ import annotations

import dataclasses
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.endless import EndlessPicture

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.spec import WeightsSpec
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.distributor import Job
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.inventory import Inventory
from lookalike_indexer.embedding.processes import Processes
from lookalike_indexer.embedding.resolve import load, resolve
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.errors import DeviceError, MismatchError
from lookalike_indexer.images.workers import PoolSettings
from lookalike_indexer.progress import Silent
from lookalike_indexer.sources.listing import update_listing
from lookalike_indexer.sources.open import open_source


@pytest.mark.slow
def test_two_devices_equal_one_device(
    tmp_path: Path, settings: EmbedSettings, contents: Callable[[Storage], dict[str, bytes]]
):
    made = []
    for devices in (("cpu",), ("cpu", "cpu")):
        storage = Storage(tmp_path / f"on-{len(devices)}")
        draft, report = run_embed(storage, None, dataclasses.replace(settings, devices=devices), Silent())
        generations.publish(storage, draft)
        assert (report.embedded, report.rejected) == (20, 3)
        made.append(contents(storage))
    assert made[0] == made[1]


def listed(storage: Storage, settings: EmbedSettings) -> tuple[Inventory, SourceEntry]:
    source = open_source(settings.source)
    listing = update_listing(storage, source, None, 7, Silent())
    loaded = load(None, settings)
    plan = resolve(storage, None, settings, loaded, PoolSettings(1), source.entry, listing.parts).plan
    return Inventory(storage, None, plan, listing.parts), source.entry


@pytest.mark.slow
def test_error_in_a_process_keeps_its_type(storage: Storage, settings: EmbedSettings):
    inventory, source = listed(storage, settings)
    spec = dataclasses.replace(inventory.plan.spec, weights=WeightsSpec("untrained", "1", "00"))
    other = Inventory(storage, None, dataclasses.replace(inventory.plan, spec=spec), inventory.listing)
    job = Job(other, source, PoolSettings(1))
    with pytest.raises(MismatchError, match="the collection was made with untrained:1 of digest 00"):
        list(Processes(["cpu", "cpu"]).embed(job, other.listing[:2], lambda images: None))


@pytest.mark.slow
def test_processes_end_with_their_parent(tmp_path: Path, photos: Path):
    with EndlessPicture(photos / "a" / "00.png") as endless:
        program = "tests.programs.embed_on_two_devices"
        parent = subprocess.Popen([sys.executable, "-m", program, str(photos), str(tmp_path / "collection")])
        try:
            endless.wait_for_reader()
            children = psutil.Process(parent.pid).children(recursive=True)
            assert len(children) >= 4
            parent.kill()
            parent.wait()
            assert psutil.wait_procs(children, timeout=30)[1] == []
        finally:
            parent.kill()
            parent.wait()


@pytest.mark.slow
def test_dead_process_is_reported_and_the_others_end(storage: Storage, settings: EmbedSettings, photos: Path):
    inventory, source = listed(storage, settings)

    def kill_a_process(endless: EndlessPicture) -> None:
        endless.wait_for_reader()
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    with EndlessPicture(photos / "a" / "00.png") as endless:
        killer = threading.Thread(target=kill_a_process, args=[endless])
        killer.start()
        job = Job(inventory, source, PoolSettings(1, timeout=100))
        done = Processes(["cpu", "cpu"]).embed(job, inventory.listing[:3], lambda images: None)
        with pytest.raises(DeviceError, match=r"The process for cpu ended with code -9; run the command again"):
            list(done)
        killer.join()
    assert multiprocessing.active_children() == []
