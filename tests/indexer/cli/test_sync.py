"""`lookalike index --sync`: counts in one line and in JSON, a dry run, and errors that name the fix."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.index import index
from lookalike_indexer.cli.remove import remove
from lookalike_indexer.collection.reader import CollectionReader

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("sync")

OPTIONS = ["--model", "squeezenet1_1", "--weights", "untrained:1", "--compute", "float32", "--workers", "1"]


def paint(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(coarse).resize((40, 32)).save(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A collection of ten images, and the images."""
    root = tmp_path_factory.mktemp("sync")
    for number in range(10):
        paint(root / "photos" / "ab"[number % 2] / f"{number}.png", number)
    run = CliRunner().invoke(
        index, [str(root / "photos"), "--collection", str(root / "collection"), *OPTIONS, "--clusters", "2"]
    )
    assert run.exit_code == 0, run.output
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of the collection; the source stays in place, and is restored after the test."""
    shutil.copytree(made / "collection", tmp_path / "collection")
    shutil.copytree(made / "photos", tmp_path / "kept")
    yield tmp_path
    shutil.rmtree(made / "photos")
    shutil.copytree(tmp_path / "kept", made / "photos")


@pytest.fixture
def sync(made, root):
    def run(*options):
        done = CliRunner().invoke(
            index, [str(made / "photos"), "--collection", str(root / "collection"), "--workers", "1", *options]
        )
        return done.exit_code, done.output

    return run


def test_counts_are_one_line(made, root, sync):
    paint(made / "photos" / "a" / "new.png", 50)
    paint(made / "photos" / "a" / "0.png", 51)
    (made / "photos" / "a" / "2.png").rename(made / "photos" / "b" / "2.png")
    (made / "photos" / "b" / "1.png").unlink()
    line = "1 new, 1 changed, 1 renamed, 1 deleted, 1 relabeled"
    code, text = sync("--sync", "--dry-run")
    assert (code, text.strip().splitlines()[-1]) == (0, line)
    code, text = sync("--sync")
    assert code == 0, text
    assert text.strip().splitlines()[-1] == f"{line}; {root / 'collection'} is at generation 2."
    assert "The clustering squeezenet1_1/k2 was extended." in text
    assert "The index squeezenet1_1/main was kept; new images are searched separately." in text
    reader = CollectionReader.open(str(root / "collection"))
    assert len(reader.assignments("squeezenet1_1/k2").ids) == 10
    code, text = sync("--sync", "--json")
    report = json.loads(text)
    assert (report["generation"], report["sync"]["new"], report["grown"]) == (
        2,
        0,
        {"clusterings": {}, "indexes": {"squeezenet1_1/main": "kept"}},
    )


def test_json_has_the_same_counts(made, root, sync):
    paint(made / "photos" / "a" / "new.png", 50)
    seen = json.loads(sync("--sync", "--dry-run", "--json")[1])
    done = json.loads(sync("--sync", "--json")[1])
    assert seen == {"dry_run": True, "sync": done["sync"]}
    assert done["sync"] == {
        "new": 1, "changed": 0, "renamed": 0, "deleted": 0, "relabelled": 0, "kept_out": 0, "unreachable": 0,
    }  # fmt: skip
    assert done["embed"][0]["embedded"] == 1


def test_empty_source_is_rejected_with_the_fix(made, root, sync):
    for path in (made / "photos" / "a").iterdir():
        path.unlink()
    (made / "photos" / "b" / "1.png").unlink()
    for options in (["--sync"], ["--sync", "--dry-run"]):
        code, text = sync(*options)
        assert code == 2
        assert "6 of the 10 images are no longer in" in text
        assert "--allow-deletions" in text
    code, text = sync("--sync", "--allow-deletions")
    assert (code, "6 deleted" in text) == (0, True)


def test_deleted_image_returns_only_by_undelete(made, root, sync):
    done = CliRunner().invoke(remove, [str(root / "collection"), "--image", "a/0.png"])
    assert "deleted 1 image\n" in done.output
    code, text = sync()
    assert (code, "1 of the source are deleted here" in text) == (0, True)
    code, text = sync("--sync")
    assert "1 in the source stay deleted" in text
    assert len(CollectionReader.open(str(root / "collection")).images()) == 9
    assert "1 new" in sync("--sync", "--undelete", "a/0.png")[1]
    assert CollectionReader.open(str(root / "collection")).images().column("id").to_pylist() == [*range(1, 11)]


@pytest.mark.parametrize("option", [["--dry-run"], ["--allow-deletions"], ["--undelete", "a/0.png"]])
def test_sync_options_require_sync(sync, option):
    code, text = sync(*option)
    assert (code, f"{option[0]} requires --sync" in text) == (2, True)
