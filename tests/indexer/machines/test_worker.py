"""The worker protocol without Ray: a driver feeds a worker and reads its replies."""

from __future__ import annotations

import functools
import os
import pickle
import threading
from pathlib import Path

import pytest
from tests.indexer.machines.fake_ray import machines_without_ray

from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import DeviceError, IndexerError, MismatchError, NotFoundError, UsageError
from lookalike_indexer.machines.connect import check_address, joined
from lookalike_indexer.machines.machines import Machines
from lookalike_indexer.machines.probe import checked, own_versions, probing
from lookalike_indexer.machines.work import Failed
from lookalike_indexer.machines.worker import Worker


def sent(value):
    """Return a value as another process receives it."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301  # this process wrote it


def doubled():
    def work(items, advance):
        for item in items:
            advance(1)
            yield 2 * item

    return work


def test_worker_returns_results_in_order_and_ends_on_request():
    worker = Worker("here", {})
    worker.feed([1, 2])
    worker.feed([3])
    worker.end()
    reports = list(worker.work(doubled))
    assert [report.result for report in reports if report.done] == [2, 4, 6]
    assert any(report.wants for report in reports)
    assert sum(report.advanced for report in reports) == 3


def test_worker_reports_progress_of_a_long_item(monkeypatch):
    monkeypatch.setattr("lookalike_indexer.machines.worker._REPORT_S", 0.01)
    told = threading.Event()

    def make():
        def work(items, advance):
            for item in items:
                advance(5)
                assert told.wait(60)
                yield item

        return work

    worker = Worker("here", {})
    worker.feed(["long"])
    worker.end()
    reports = worker.work(make)
    first = next(report for report in reports if report.advanced)
    assert (first.advanced, first.done) == (5, False)
    told.set()
    assert [(report.advanced, report.result) for report in reports if report.done] == [(0, "long")]


def test_worker_error_keeps_its_type():
    def refuse():
        raise MismatchError("other weights")

    (failed,) = list(Worker("10.0.0.3", {}).work(refuse))
    with pytest.raises(MismatchError, match="other weights"):
        raise sent(failed).error()

    def crash():
        raise ZeroDivisionError("nothing")

    (failed,) = list(Worker("10.0.0.3", {}).work(crash))
    assert isinstance(failed, Failed)
    error = failed.error()
    assert type(error) is RuntimeError
    assert "10.0.0.3" in str(error)
    assert "ZeroDivisionError: nothing" in str(error)


def test_worker_sets_its_environment(monkeypatch):
    monkeypatch.delenv("LOOKALIKE_TEST_THREADS", raising=False)
    monkeypatch.setenv("LOOKALIKE_TEST_THREADS", "0")
    Worker("here", {"LOOKALIKE_TEST_THREADS": "3"})
    assert os.environ["LOOKALIKE_TEST_THREADS"] == "3"


def test_machine_that_lacks_something_is_named(tmp_path):
    here = own_versions()
    assert "torch" in here
    found = probing([str(tmp_path)])()
    checked("10.0.0.3", found, here)
    with pytest.raises(IndexerError, match=r"machine 10\.0\.0\.3 of the Ray cluster lacks torch; install"):
        checked("10.0.0.3", {**found, "versions": {k: v for k, v in here.items() if k != "torch"}}, here)
    with pytest.raises(IndexerError, match=r"lacks lookalike; install"):
        checked("10.0.0.3", {**found, "lookalike": False}, here)
    with pytest.raises(MismatchError, match=r"has faiss 1\.0 instead of"):
        checked("10.0.0.3", {**found, "versions": {**here, "faiss": "1.0"}}, here)
    gone = probing([str(tmp_path / "photos")])()
    with pytest.raises(NotFoundError, match=r"does not see .*photos; put images and collection into a folder"):
        checked("10.0.0.3", gone, here)


@pytest.mark.parametrize("address", ["ray://10.0.0.2:10001", "10.0.0.2", "", "10.0.0.2:", "10.0.0.2:99999", ":6379"])
def test_invalid_address_is_rejected(address):
    with pytest.raises(UsageError, match=r"give auto or the HOST:PORT of its head"):
        check_address(address)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"--ray needs the package ray: pip install 'lookalike\[ray\]'"),
        joined("auto"),
    ):
        pass


def test_storage_keeps_its_folder_in_another_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("collection").mkdir()
    Path("collection/file").write_bytes(b"bytes")
    packed = pickle.dumps(Storage("collection"))
    monkeypatch.chdir("/")
    storage = pickle.loads(packed)  # noqa: S301  # this process wrote it
    assert storage.read("file") == b"bytes"


def ahead():
    """Work that reads up to five items ahead of its current one, as decoding does."""

    def work(items, advance):
        taken = []
        for item in items:
            taken.append(2 * item)
            if len(taken) > 5:
                yield taken.pop(0)
        yield from taken

    return work


@pytest.fixture
def fake_machines(monkeypatch):
    return functools.partial(machines_without_ray, monkeypatch)


@pytest.mark.parametrize("make", [doubled, ahead])
@pytest.mark.parametrize(("addresses", "losses"), [(["a"], 0), (["a", "b", "c"], 0), (["a"], 2), (["a", "b"], 2)])
def test_each_item_is_processed_once_despite_lost_workers(fake_machines, make, addresses, losses):
    machines = fake_machines(addresses, losses)
    done = list(machines.run(make, range(40), lambda amount: None, "part"))
    assert sorted(done) == [2 * item for item in range(40)]
    assert machines._ray.losses == 0


def test_item_that_ends_one_worker_after_another_is_named(fake_machines):
    machines = fake_machines(["a"], 3, 0)
    with pytest.raises(DeviceError, match=r"3 workers ended during part 0; the last one was on a \(the worker died"):
        list(machines.run(doubled, range(40), lambda amount: None, "part"))


def test_joining_machine_is_checked_like_the_first(fake_machines, monkeypatch, tmp_path, caplog):
    """It is checked for releases and shared folders; a machine that fails does nothing, and is named once."""
    machines = fake_machines(["a"])
    probed, started = [], []

    def probing_each(folders):
        probed.append(folders)
        return lambda: {**probing(folders)(), **({"missing": ["/photos"]} if len(probed) == 2 else {})}

    def noting(self, node, slot, make, start=Machines.start):
        started.append(node.id)
        return start(self, node, slot, make)

    monkeypatch.setattr("lookalike_indexer.machines.machines.probing", probing_each)
    monkeypatch.setattr(Machines, "start", noting)
    machines.check([str(tmp_path)])
    machines._ray.addresses = ["a", "blind", "new"]
    for _ in range(2):
        assert sorted(machines.run(doubled, range(40), lambda amount: None, "part")) == [2 * item for item in range(40)]
        machines._ray.addresses = ["a", "new"]
    assert probed == [(str(tmp_path),)] * 3
    assert started == ["a", "new"] * 2
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("The machine blind of the Ray cluster does not see /photos; ")
    assert told.endswith(" The run goes on without this machine.")
