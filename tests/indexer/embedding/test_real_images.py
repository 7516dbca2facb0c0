"""Real images and a real ResNet-50: transforms, weights and classes match."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lookalike_indexer.collection.parts import read_part
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.progress import Silent


@pytest.mark.slow
def test_real_network_knows_its_classes(tmp_path: Path, photos_dir: Path, resnet50_weights: Path):
    settings = EmbedSettings(
        source=str(photos_dir / "imagenet100"),
        model="resnet50",
        weights=str(resnet50_weights),
        class_names="imagenet",
        preprocess="IMAGENET1K_V1",
        compute="float32",
    )
    storage = Storage(tmp_path / "float32")
    manifest, report = run_embed(storage, None, settings, Silent())
    assert (report.embedded, report.rejected, report.pretrained) == (100, 0, True)
    (path,) = manifest.models["resnet50"].predictions
    predictions = pq.read_table(storage.local(path))
    # The k-th image by name belongs to class 10 * k.
    truth = np.arange(0, 1000, 10)
    classes = np.array(predictions.column("class_index").to_pylist())
    assert (classes[:, 0] == truth).mean() >= 0.8
    assert (classes == truth[:, None]).any(1).mean() >= 0.93
    assert predictions.column("class_name")[0].as_py()[0] == "tench"


@pytest.mark.slow
def test_bfloat16_costs_little(tmp_path: Path, photos_dir: Path, resnet50_weights: Path):
    names = sorted(path.name for path in (photos_dir / "imagenet100").iterdir())[:16]
    (tmp_path / "list.txt").write_text("".join(f"{photos_dir}/imagenet100/{name}\n" for name in names))
    settings = EmbedSettings(
        source=str(tmp_path / "list.txt"),
        model="resnet50",
        weights=str(resnet50_weights),
        class_names="imagenet",
        preprocess="IMAGENET1K_V1",
        batch_size=16,
    )
    embedded = []
    for compute in ("float32", "bfloat16"):
        storage = Storage(tmp_path / compute)
        manifest, _ = run_embed(storage, None, dataclasses.replace(settings, compute=compute), Silent())
        assert manifest.models["resnet50"].compute == compute
        (part,) = manifest.spaces["resnet50"].parts
        embedded.append(np.stack(read_part(storage, part).column("embedding").to_numpy(zero_copy_only=False)))
    exact, rough = embedded
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert 0 < (1 - cosine).max() < 1e-3
