"""`lookalike.open`: a collection's folder through the client's methods."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

import lookalike

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("e2e")

HOLDER = """
import sys, time
import lookalike
opened = lookalike.open(sys.argv[1])
print(opened.info().images, opened._end.peek()[2][0].pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def opened(collection: Path):
    with lookalike.open(collection) as found:
        yield found


def gone(pid: int) -> bool:
    """Return True if a process ends within a minute."""
    try:
        psutil.Process(pid).wait(60)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def test_opened_folder_answers_like_a_server(opened, address, pictures):
    with lookalike.Client(address) as served:
        image = pictures / "blue" / "00.png"
        for ask in (
            lambda c: c.search(key="blue/01.png", k=7, uris=True),
            lambda c: c.search(id=3, k=7, exact=True),
            lambda c: c.search(image=image, k=7, timeout=300),
            lambda c: c.search(vectors=np.eye(512, dtype=np.float32)[:2], k=3),
        ):
            one, other = ask(opened), ask(served)
            assert type(one) is type(other)
            assert one.ids.tolist() == other.ids.tolist()
            assert one.distances.tolist() == other.distances.tolist()
            assert (one.keys, one.labels, one.uris) == (other.keys, other.labels, other.uris)
        assert opened.info() == served.info()
        assert list(opened.images()) == list(served.images())
        name = opened.info().clusterings[0].name
        assert list(opened.members(name, 0)) == list(served.members(name, 0))
        assert opened.clusters(id=3)[name].cluster == served.clusters(id=3)[name].cluster
        one, other = opened.class_matrix(), served.class_matrix()
        assert (one.settings, one.figures, one.findings) == (other.settings, other.figures, other.findings)
        tables = [{name: table.records() for name, table in each.tables.items()} for each in (one, other)]
        assert tables[0] == tables[1]


def test_dendrogram_equals_that_of_the_command(opened, collection):
    words = [sys.executable, "-m", "lookalike", "dendrogram", "--collection", str(collection), "--most", "20", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        # An untrained network may predict fewer than three classes; the call then fails with the same sentence.
        with pytest.raises(lookalike.FailedPreconditionError) as caught:
            opened.dendrogram(most=20)
        assert done.stderr.strip().splitlines()[-1].removeprefix("Error: ") in str(caught.value)
        return
    told, found = json.loads(done.stdout), opened.dendrogram(most=20)
    assert found.figures == told["figures"]
    assert list(found.findings) == told["findings"]
    assert {name: table.records() for name, table in found.tables.items()} == told["tables"]


def test_shows_thumbnails(opened):
    assert opened.search(key="blue/01.png", k=3)._repr_html_().count("<img") == 3


def test_copy_uses_the_same_server_and_leaves_it_running(opened):
    with pickle.loads(pickle.dumps(opened)) as copy:  # noqa: S301
        assert type(copy) is lookalike.Client
        assert copy.info().images == 60
    assert opened.info().images == 60


def test_other_local_users_are_rejected(opened):
    with (
        lookalike.Client(opened._connection.target) as stranger,
        pytest.raises(lookalike.AuthenticationError, match="requires a token"),
    ):
        stranger.info()


def test_closing_ends_the_server_despite_environment_settings(collection, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_SERVE_TLS_CERT", "/nowhere")
    monkeypatch.setenv("LOOKALIKE_TOKEN", "lookalike_other")
    opened = lookalike.open(collection)
    process = opened._end.peek()[2][0]
    assert repr(opened) == f"<lookalike.LocalClient of {collection}>"
    opened.close()
    assert process.poll() is not None
    assert repr(opened).endswith(", closed>")
    with pytest.raises(lookalike.ClosedError):
        opened.info()
    with pytest.raises(lookalike.ClosedError, match="open it again"), opened:
        pass


def test_no_process_is_left_behind_when_its_owner_is_killed(collection):
    command = [sys.executable, "-c", HOLDER, str(collection)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    images, server = owner.stdout.readline().split()
    assert images == "60"
    children = psutil.Process(int(server)).children(recursive=True)
    owner.kill()
    owner.wait(60)
    owner.stdout.close()
    assert gone(int(server))
    assert all(gone(child.pid) for child in children)


def test_killed_server_is_reported(collection):
    with lookalike.open(collection) as opened:
        opened._end.peek()[2][0].kill()
        with pytest.raises(lookalike.UnavailableError):
            opened.info()


def test_interrupt_of_the_callers_group_spares_the_server(opened):
    assert os.getpgid(opened._end.peek()[2][0].pid) != os.getpgid(0)


class TestMistakes:
    def test_no_such_folder(self, tmp_path):
        with pytest.raises(lookalike.NotFoundError, match=r"There is no folder '.*nowhere'; make a collection with"):
            lookalike.open(tmp_path / "nowhere")

    def test_no_collection(self, tmp_path):
        with pytest.raises(lookalike.FailedPreconditionError, match=r"cannot be opened: .*no collection"):
            lookalike.open(tmp_path)

    def test_server_is_not_installed(self, collection, monkeypatch):
        monkeypatch.setitem(sys.modules, "lookalike_server", None)
        with pytest.raises(lookalike.FailedPreconditionError, match=r"pip install 'lookalike\[server\]'"):
            lookalike.open(collection)

    @pytest.mark.parametrize("library", ["faiss", "click"])
    def test_missing_server_dependency_is_named_with_its_extra(self, collection, tmp_path, monkeypatch, library):
        text = f"raise ModuleNotFoundError('No module named {library}', name='{library}')\n"
        (tmp_path / f"{library}.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path[1:]]))
        with pytest.raises(lookalike.FailedPreconditionError, match=rf"{library}.*pip install 'lookalike\["):
            lookalike.open(collection)
