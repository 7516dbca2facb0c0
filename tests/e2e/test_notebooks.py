"""Run the notebooks of the documentation on the images of scikit-image."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import skimage.data
from nbclient import NotebookClient
from PIL import Image

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("notebooks")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb"))
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
PICTURES = {"choosing_k": ("image/png", 2), "layers": ("text/html", 4), "within_classes": ("text/html", 3)}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen small crops of each of four images, as a collection of an untrained network with two spaces."""
    folder = tmp_path_factory.mktemp("crops")
    for name in PHOTOGRAPHS:
        picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB").resize((140, 100))
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(16):
            left, top = number % 4 * 20, number // 4 * 10
            picture.crop((left, top, left + 70, top + 70)).save(folder / "photos" / name / f"{number:02d}.jpg")
    command = [sys.executable, "-m", "lookalike", "index", folder / "photos", "--collection", folder / "collection"]
    options = ["--model", "resnet18", "--weights", "untrained:3", "--layer", "layer2"]
    subprocess.run([*map(str, command), *options], check=True, capture_output=True, text=True, timeout=240)
    return folder / "collection"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_shows_images(notebook, crops, tmp_path, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_COLLECTION", str(crops))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    document = nbformat.read(notebook, as_version=4)
    for cell in document.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    # Raises CellExecutionError with the cell and its traceback.
    NotebookClient(document, kernel_name="python3", timeout=240, resources=resources).execute()
    kind, least = PICTURES[notebook.stem]
    shown = [output.get("data", {}).get(kind, "") for cell in document.cells for output in cell.get("outputs", [])]
    assert sum((kind == "image/png" and bool(data)) or "<img" in data for data in shown) >= least


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_rendered_small_and_without_local_paths(notebook):
    document = nbformat.read(notebook, as_version=4)
    nbformat.validate(document)
    outputs = [output for cell in document.cells for output in cell.get("outputs", [])]
    assert len(outputs) >= 5
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    text = notebook.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert not re.search(r"(/tmp|/home|/work|/Users)/", text)
