"""`lookalike quality`: images with known flaws get their flags, which filters can name."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter

from lookalike_indexer.cli.quality import quality
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.manifest import SourceEntry
from lookalike_indexer.collection.parts import read_part, write_part
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.experiments.stored_results import out_of_date
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Silent
from lookalike_indexer.quality import quality_stage as stage
from lookalike_indexer.quality.measures import Measures, measured
from lookalike_indexer.verification.examination import VerifySettings
from lookalike_indexer.verification.verify_stage import run_verify

NOISE = np.random.default_rng(0)


def scene(width: int = 200, height: int = 150) -> Image.Image:
    """Return blocks of random gray: sharp edges, and every brightness."""
    blocks = NOISE.integers(0, 256, (-(-height // 10), -(-width // 10)), np.uint8).repeat(10, 0).repeat(10, 1)
    return Image.fromarray(blocks[:height, :width]).convert("RGB")


PICTURES = {
    "plain": scene(),
    "dark": scene().point(lambda value: value * 0.2),
    "bright": scene().point(lambda value: 205 + value * 0.19),
    "blurry": scene().filter(ImageFilter.GaussianBlur(6)),
    "uniform": Image.new("RGB", (200, 150), (120, 130, 140)),
    "tiny": scene(60, 200),
    "odd_aspect": scene(400, 100),
    "gone": scene(),
}


@pytest.fixture
def storage(make_collection, tmp_path) -> Storage:
    """A collection of eight images in parts of three; the last one's file is gone."""
    storage = make_collection(np.eye(8, dtype=np.float32), labels=["a"] * 4 + ["b"] * 4, part_rows=3)
    latest = generations.require_latest(storage)
    paths = []
    for part, path in enumerate(latest.images):
        images = read_part(storage, path)
        names = list(PICTURES)[3 * part : 3 * part + 3]
        for name in names:
            if name != "gone":
                PICTURES[name].save(tmp_path / f"{name}.png")
        columns = {
            "key": [f"{name}.png" for name in names],
            "uri": [f"{name}.png" for name in names],
            "width": [PICTURES[name].width for name in names],
            "height": [PICTURES[name].height for name in names],
            "sha256": [f"{3 * part + at:064x}" for at in range(len(names))],
        }
        for name, values in columns.items():
            at = images.column_names.index(name)
            images = images.set_column(at, images.schema.field(name), pa.array(values, images.schema.field(name).type))
        paths.append(path.replace(".parquet", f".{part:016x}.parquet"))
        write_part(storage, paths[-1], images)
    generations.publish(
        storage, dataclasses.replace(latest, images=paths, source=SourceEntry("directory", str(tmp_path)))
    )
    return storage


def run(storage, *options, code=0):
    result = CliRunner().invoke(quality, [str(storage.root), "--workers", "1", *map(str, options)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else " ".join(result.output.split())


def test_each_poor_image_has_its_flag_and_matches_its_filter(storage, tmp_path):
    found = json.loads(run(storage, "--json", "--out", tmp_path / "out"))
    listed = {line["flag"]: [] for line in found["tables"]["flags"]}
    for line in found["tables"]["images"]:
        listed[line["flag"]].append(line["key"])
    assert listed == {name: [f"{name}.png"] for name in PICTURES if name not in ("plain", "gone")} | {
        "odd_aspect": ["odd_aspect.png", "tiny.png"]
    }
    assert found["figures"] == {"images": 7, "flagged": 6, "unmeasured": 1}
    assert "1 images have no measures, because they are new or unreadable" in found["findings"][1]
    with Image.open(tmp_path / "out" / "quality.png") as drawn:
        assert drawn.width > 500
    view = View(CollectionReader.open(str(storage.root)))
    assert np.flatnonzero(view.matching("blurry or dark")).tolist() == [1, 3]
    assert np.flatnonzero(view.matching("brightness < 0.3 and not tiny")).tolist() == [1]
    # It is an attribute table like those that users attach. The images of this test are not in the listing.
    damages = run_verify(storage, VerifySettings(), Silent()).damages
    assert {damage.path.partition("/")[0] for damage in damages} == {"images"}


def test_files_are_listed_for_scripts_and_filters_limit_what_is_counted(storage, tmp_path):
    assert run(storage, "--flag", "odd_aspect", "--list").split() == [
        str(tmp_path / "odd_aspect.png"),
        str(tmp_path / "tiny.png"),
    ]
    assert run(storage, "--flag", "odd_aspect", "--limit", 1, "--list").split() == [str(tmp_path / "odd_aspect.png")]
    told = run(storage, "--where", "label = 'a'")
    assert told.splitlines()[-1] == f"{storage.root} is at generation {generations.require_latest(storage).generation}."
    assert told.startswith("3 of 4 images have a quality flag: dark 1, bright 1, blurry 1, uniform 0, tiny 0")
    assert "longer side more than 3 times the shorter one" in told
    assert "no quality flag 'sharp'; the flags are dark, bright" in run(storage, "--flag", "sharp", code=1)


def test_measured_images_are_not_read_again(storage, tmp_path, monkeypatch):
    asked = []

    class Counted:
        def __init__(self, workers, limits):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def measure(self, uris):
            for uri in uris:
                asked.append(uri.rsplit("/", 1)[-1])
                yield None if uri.endswith("gone.png") else Measures(0.5, 0.1, 0.9, 0.2, 3.0, -7)

    monkeypatch.setattr(stage, "MeasurePool", Counted)
    run(storage, "--keep", "today")
    assert len(asked) == 8
    del asked[:]
    run(storage)
    # Only the part with an unreadable file is tried again.
    assert asked == ["odd_aspect.png", "gone.png"]
    assert not out_of_date(generations.require_latest(storage), "image_quality/today")


def test_killed_run_measures_the_rest(storage, monkeypatch):
    usual, written = stage.write_part, []

    def dies(storage, path, table):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        usual(storage, path, table)

    monkeypatch.setattr(stage, "write_part", dies)
    assert CliRunner().invoke(quality, [str(storage.root), "--workers", "1"]).exit_code == 1
    assert "quality" not in generations.require_latest(storage).attributes
    monkeypatch.setattr(stage, "write_part", usual)
    draft, report = stage.run_quality(storage, generations.require_latest(storage), 1, Silent())
    assert (report.known, report.measured, report.unreadable) == (6, 1, 1)
    assert draft.attributes["quality"].rows == 7


def test_missing_source_is_an_error(storage, tmp_path):
    for picture in tmp_path.glob("*.png"):
        picture.unlink()
    told = run(storage, code=1)
    assert "None of the 8 images can be read from" in told
    assert "lookalike relocate" in told
    assert "quality" not in generations.require_latest(storage).attributes


def test_measures_do_not_depend_on_the_size_of_an_image():
    picture = scene(320, 240)
    small, large = measured(picture), measured(picture.resize((1280, 960), Image.Resampling.NEAREST))
    for name in ("brightness", "contrast", "sharpness"):
        assert getattr(small, name) == pytest.approx(getattr(large, name), rel=1e-6)
    nothing = measured(Image.new("RGB", (1, 1)))
    assert (nothing.brightness, nothing.contrast, nothing.sharpness) == (0, 0, 0)


def test_existing_column_name_is_rejected(storage, tmp_path):
    from lookalike_indexer.cli.attach import attach

    (tmp_path / "mine.csv").write_text("key,dark\nplain.png,true\n")
    assert CliRunner().invoke(attach, [str(storage.root), str(tmp_path / "mine.csv"), "--key", "key"]).exit_code == 0
    assert "The attribute table 'mine' has a column 'dark' as well" in run(storage, code=2)


def test_hash_survives_what_changes_few_low_frequencies():
    picture = scene(320, 240).filter(ImageFilter.GaussianBlur(3))
    other = scene(320, 240).filter(ImageFilter.GaussianBlur(3))

    def apart(one: Image.Image) -> int:
        return ((measured(picture).phash ^ measured(one).phash) & (2**64 - 1)).bit_count()

    assert apart(picture.resize((160, 120))) <= 4
    assert apart(picture.point(lambda value: value * 0.8)) <= 4
    assert apart(other) > 16
