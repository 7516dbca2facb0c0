from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner, Result
from PIL import Image

from lookalike_indexer.cli.evolution import evolution
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.progress import Silent

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("evolution")

HUES = {"red": 0, "green": 85, "blue": 170}


def paint(hue: int, random: np.random.Generator) -> Image.Image:
    """Return noise of one hue."""
    pixels = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    pixels[..., 0] = (hue + random.integers(0, 20)) % 255
    pixels[..., 1] = pixels[..., 1] // 2 + 127
    return Image.fromarray(pixels, "HSV").convert("RGB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three hues, a collection of them, and checkpoints of a network that is trained on the hues."""
    root = tmp_path_factory.mktemp("training")
    random = np.random.default_rng(3)
    pictures = {(name, number): paint(hue, random) for name, hue in HUES.items() for number in range(8)}
    for (name, number), picture in pictures.items():
        (root / "photos" / name).mkdir(parents=True, exist_ok=True)
        picture.save(root / "photos" / name / f"{number}.png")
    storage = Storage(root / "collection")
    settings = EmbedSettings(str(root / "photos"), model="squeezenet1_1", weights="untrained:1", workers=1)
    generations.publish(storage, run_embed(storage, None, settings, Silent())[0])
    train(root, np.stack([np.asarray(picture) for picture in pictures.values()]))
    return root


def train(root: Path, pixels: np.ndarray) -> None:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    classes = torch.arange(3).repeat_interleave(8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=3)
        descent = torch.optim.Adam(network.parameters(), 2e-3)
        for step in range(13):
            if step in (0, 4, 12):
                torch.save(network.state_dict(), root / f"step{step}.pth")
            descent.zero_grad()
            torch.nn.functional.cross_entropy(network(images), classes).backward()
            descent.step()


def run(folder: Path, *arguments: object) -> Result:
    return CliRunner().invoke(evolution, ["--collection", str(folder / "collection"), *map(str, arguments)])


def test_checkpoints_are_embedded_clustered_followed_drawn_and_kept(folder: Path, tmp_path: Path):
    pattern = folder / "step*.pth"
    done = run(
        folder, "--checkpoints", pattern, "--model", "shufflenet_v2_x0_5", "--clusters", 3, "-k", 5, "--keep", "run1",
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["settings"]["steps"] == ["step0", "step4", "step12"]
    steps = found["tables"]["steps"]
    assert [line["space"] for line in steps] == [f"shufflenet_v2_x0_5@{name}" for name in ("step0", "step4", "step12")]
    assert steps[0]["churn"] is None
    assert all(0 < line["churn"] <= 1 for line in steps[1:])
    assert all(line["purity"] >= 1 / 3 for line in steps)
    with Image.open(tmp_path / "evolution.png") as chart:
        assert chart.width > 800
    kept = stored_results.load(CollectionReader.open(str(folder / "collection")), "evolution/run1")
    assert kept.tables["images"].to_pylist() == found["tables"]["images"]

    # The checkpoints exist now: the command gives the same without them, and follows one image.
    again = run(folder, "-k", 5, "--image", "green/3.png")
    assert again.exit_code == 0, again.output
    assert found["findings"][0] in again.output
    assert "probability" in again.output
    assert generations.require_latest(Storage(folder / "collection")).generation == 3


def test_invalid_arguments_are_reported_in_one_sentence(folder: Path):
    for arguments, sentence in {
        ("--checkpoints", "none*.pth", "--model", "resnet18"): "No file matches none*.pth",
        ("--checkpoints", folder / "step*.pth"): "--checkpoints needs --model",
        ("--checkpoints", folder / "step0.pth", "--model", "resnet18"): "does not fit the model resnet18",
        ("--model", "vgg11"): "has 0 checkpoints of vgg11",
        ("--clusters", 3): "require --checkpoints; add --checkpoints",
        ("--image", "none.png"): "has no image with key 'none.png'",
    }.items():
        done = run(folder, *arguments)
        assert done.exit_code in (1, 2)
        assert sentence in " ".join(done.output.split())
