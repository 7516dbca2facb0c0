"""Description of the machine and the libraries of a row."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from pathlib import Path

LIBRARIES = (
    "lookalike",
    "torch",
    "torchvision",
    "faiss-gpu",
    "faiss-cpu",
    "faiss-cuda",
    "numpy",
    "pyarrow",
    "grpcio",
    "scikit-learn",
)


@functools.cache
def machine() -> dict[str, object]:
    """Return the processor, its usable cores, the memory and the GPUs, without names of hosts or people."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the installed libraries."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def gpu_count() -> int:
    """Return the number of GPUs that both torch and faiss can use."""
    import faiss
    import torch

    by_faiss = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return min(by_faiss, torch.cuda.device_count() if torch.cuda.is_available() else 0)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    units = [name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags]
    return f"{model} ({units[0]})" if units else model


def _gpus() -> list[str]:
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_name(number) for number in range(there)]
