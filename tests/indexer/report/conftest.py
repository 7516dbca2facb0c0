"""A small labeled collection with predictions and a clustering, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from lookalike_indexer.clustering.cluster_stage import run_cluster
from lookalike_indexer.clustering.settings import ClusterSettings
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.progress import Silent


def make_collection_of(folder: Path, labels: str, weights: str = "untrained:1") -> str:
    """Make a collection of eighteen small images, in a folder for each label, with an untrained network."""
    random = np.random.default_rng(0)
    for number in range(18):
        path = folder / "photos" / (labels[number % len(labels)] if labels else "") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8)).resize((60, 50)).save(path)
    storage = Storage(folder / "small")
    settings = EmbedSettings(
        str(folder / "photos"), model="squeezenet1_1", weights=weights, preprocess="IMAGENET1K_V1", workers=1
    )
    draft, _ = run_embed(storage, None, settings, Silent())
    draft, _ = run_cluster(storage, draft, ClusterSettings(clusters=3, restarts=1), Silent())
    generations.publish(storage, draft)
    return str(storage.root)


@pytest.fixture(scope="session")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A collection with the labels a, b and c."""
    return make_collection_of(tmp_path_factory.mktemp("labeled"), "abc")


@pytest.fixture(scope="session")
def unlabeled(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_collection_of(tmp_path_factory.mktemp("unlabeled"), "")


@pytest.fixture(scope="module")
def weightless(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A labeled collection whose weights file is gone."""
    folder = tmp_path_factory.mktemp("weightless")
    torch.manual_seed(1)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / "gone.pth")
    collection = make_collection_of(folder, "abc", str(folder / "gone.pth"))
    (folder / "gone.pth").unlink()
    return collection


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium of Debian.

    Module scope only: Playwright runs an event loop in this thread, and asyncio does not allow another.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium on the PATH")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=options, timeout=120_000)
        yield chromium
        chromium.close()
