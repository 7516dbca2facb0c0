"""Run the commands of the walkthrough unchanged and in order, on real images with real weights."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from lookalike.cli._commands import commands
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.view import View

pytestmark = [pytest.mark.xdist_group("walk-through"), pytest.mark.slow, pytest.mark.timeout(900)]
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "walkthrough.md"
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    for line in block.splitlines()
]
# The number of images of a class here; those that the page names are among them.
EACH = 8


@pytest.fixture
def folder(tmp_path: Path, photos_dir: Path, resnet50_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's initial folder, with fewer images."""
    named = [name for command in COMMANDS for name in shlex.split(command) if name.endswith(".JPEG")]
    for source in sorted((photos_dir / "imagenette").iterdir()):
        (tmp_path / "photos" / source.name).mkdir(parents=True)
        wanted = [Path(name).name for name in named if name.startswith(source.name)]
        for name in sorted({*wanted, *sorted(file.name for file in source.iterdir())[:EACH]}):
            (tmp_path / "photos" / source.name / name).symlink_to(source / name)
    (tmp_path / "resnet50.pth").symlink_to(resnet50_weights)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Run a line of the page as a shell would."""

    def typed(line: str) -> str:
        first, *rest = shlex.split(line)
        if first == "export":
            monkeypatch.setenv(*rest[0].split("=", 1))
            return ""
        assert first == "lookalike"
        done = CliRunner().invoke(commands, rest, catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        return done.output

    return typed


def test_walk_through_commands_give_the_documented_results(folder: Path, run: Callable[[str], str]) -> None:
    said = {command: run(command) for command in COMMANDS}
    assert len(said) >= 9

    def of(name: str) -> str:
        return next(output for command, output in said.items() if command.startswith(f"lookalike {name}"))

    view = View(CollectionReader.open("things"))
    assert sorted(view.reader.manifest.spaces) == sorted(
        ["resnet50", *(f"resnet50.layer{layer}.{pool}" for layer in (1, 2, 3) for pool in ("avg", "max", "top10"))]
    )
    # The last features separate the classes, the first layer does not.
    last, first = (class_matrix(view, f"{space}/k10").figures for space in ("resnet50", "resnet50.layer1.avg"))
    # Measured with 8 of each: purity 0.838 and NMI 0.856 against 0.412 and 0.414.
    assert last["purity"] > 0.75
    assert last["nmi"] > 0.78
    assert first["purity"] < 0.55
    assert f"purity {last['purity']:.3f}" in of("matrix")
    assert "resnet50 takes it for cornet (99%)" in of("show")
    assert "its label n03394916_french_horn comes at place 2 (under 1%)" in of("explain")
    assert "n03000684_chain_saw" in of("oddballs")
    assert "2 sub-clusters" in of("split")
    for name in (
        "matrix",
        "clusters",
        "classes",
        "oddballs",
        "n03000684_chain_saw-0",
        "choose-k",
        "map-tsne",
        "horn/resnet50-k10",
    ):
        with Image.open(folder / "pictures" / f"{name}.png") as picture:
            assert min(picture.size) > 100
    html = (folder / "report.html").read_text("utf-8")
    assert html.count("data:image/") >= 10
    assert f"{last['purity']:.3g}" in html
