"""Diagnosis of this machine: installed software and hardware, and their meaning for Lookalike."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path

from lookalike_indexer.errors import IndexerError
from lookalike_indexer.threads import processors

LIBRARIES = ("torch", "torchvision", "pyarrow", "numpy", "pillow", "grpcio", "protobuf")


@dataclass(frozen=True)
class Finding:
    """One finding: what was found, its meaning, and whether it is a problem."""

    topic: str
    found: str
    meaning: str
    ok: bool = True


def examine(model: str) -> list[Finding]:
    """Check the interpreter, the libraries, the CPU, the GPUs and the weights of `model`."""
    return [_python(), *(_library(name) for name in LIBRARIES), _faiss(), _processor(), *_gpus(), *_model(model)]


def examine_store(url: str) -> list[Finding]:
    """Check that the store of a URL supports what a collection needs; remove the test objects afterwards.

    Raise UsageError if the URL has no known scheme.
    """
    from lookalike_indexer.collection.objects import checks
    from lookalike_indexer.collection.objects.store import open_location

    location = open_location(url)
    findings = []
    for topic, check in (
        ("create only once", checks.check_creates_once),
        ("list", checks.check_lists),
        ("read ranges", checks.check_reads_ranges),
    ):
        try:
            check(location)
        except IndexerError as error:
            findings.append(Finding(topic, "no", str(error), ok=False))
        else:
            findings.append(Finding(topic, "yes", ""))
    return findings


def _python() -> Finding:
    return Finding("Python", platform.python_version(), "")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _library(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(name, "not installed", "to fix, run: pip install 'lookalike[all]'", ok=False)
    return Finding(name, version, "")


def _faiss() -> Finding:
    for distribution in ("faiss-gpu", "faiss-gpu-cuvs", "faiss-cuda", "faiss-cpu"):
        version = _version(distribution)
        if version is None:
            continue
        if distribution == "faiss-cpu":
            return Finding("faiss", f"{distribution} {version}", "clusters, indexes and serves on the CPU only")
        return Finding("faiss", f"{distribution} {version}", "can use GPUs where there are any")
    return Finding("faiss", "not installed", "to fix, run: pip install 'lookalike[all]'", ok=False)


def _processor() -> Finding:
    from lookalike_indexer.models.compute import has_fast_bfloat16

    bfloat16 = has_fast_bfloat16()
    meaning = "embeds in bfloat16" if bfloat16 else "embeds in float32, which is no slower than bfloat16 here"
    return Finding("processor", f"{processors()} usable cores", meaning)


def _gpus() -> list[Finding]:
    import faiss
    import torch

    seen_by_torch = torch.cuda.device_count() if torch.cuda.is_available() else 0
    seen_by_faiss = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    if seen_by_torch == seen_by_faiss == 0:
        return [Finding("GPUs", "none", "everything runs on the CPU; --gpus and --placement gpu are refused")]
    findings = []
    for number in range(seen_by_torch):
        gpu = torch.cuda.get_device_properties(number)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB, compute capability {gpu.major}.{gpu.minor}"
        findings.append(Finding(f"GPU {number}", f"{gpu.name}, {memory}", "embeds images"))
    if seen_by_faiss != seen_by_torch:
        meaning = "torch and faiss disagree: check the CUDA versions that both were built for, and the driver"
        findings.append(Finding("GPUs", f"torch sees {seen_by_torch}, faiss {seen_by_faiss}", meaning, ok=False))
    return findings


def _model(model: str) -> list[Finding]:
    """Return findings on the model's library, if that is an extra, and on the model's weights."""
    from lookalike_indexer.models.architecture import checked_architecture
    from lookalike_indexer.models.availability import weights_status
    from lookalike_indexer.models.open_clip_models import is_open_clip
    from lookalike_indexer.models.timm_models import is_timm

    topic = f"{model} weights"
    try:
        checked_architecture(model)
        if is_open_clip(model):
            return [_library("open_clip_torch"), _of_open_clip(topic, model)]
        if is_timm(model):
            return [_library("timm"), _of_timm(topic, model)]
        path, cached = weights_status(model)
    except IndexerError as error:
        return [Finding(topic, "unknown", str(error), ok=False)]
    if cached:
        return [_available(topic, path, "imagenet")]
    return [_unavailable(topic, "imagenet", f"put the file at {path}")]


def _of_timm(topic: str, model: str) -> Finding:
    from lookalike_indexer.models import timm_models

    if (path := timm_models.cached(model)) is not None:
        return _available(topic, path, "imagenet")
    try:
        return _available(topic, timm_models.package_file(model), "package")
    except IndexerError:
        # The package is not installed, or has weights of another model.
        return _unavailable(topic, "imagenet", "give --weights a state dict")


def _of_open_clip(topic: str, model: str) -> Finding:
    from lookalike_indexer.models import open_clip_models

    tags = open_clip_models.fitting_tags(model)
    for tag in tags:
        if (path := open_clip_models.cached(model, tag)) is not None:
            return _available(topic, path, f"open_clip:{tag}")
    if not tags:
        return Finding(topic, "none published", "give --weights a state dict, or untrained:0")
    return _unavailable(topic, f"open_clip:{tags[0]}", "give --weights a state dict")


def _available(topic: str, path: Path, weights: str) -> Finding:
    return Finding(topic, str(path), f"--weights {weights} works without a network")


def _unavailable(topic: str, weights: str, instead: str) -> Finding:
    return Finding(topic, "not cached", f"--weights {weights} downloads them; without a network, {instead}")
