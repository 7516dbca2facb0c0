"""Floating-point type of a network's computation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_indexer.processor import CPUINFO, flags, vendor

Compute = Literal["float32", "bfloat16", "float16"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_compute(text: str, device: str) -> Compute:
    """Return the meaning of "auto" on a device, or `text` itself if the device supports it.

    On GPUs it is bfloat16, or float16 if they are too old; on CPUs bfloat16 if it is faster, see `has_fast_bfloat16`.
    """
    if text not in (*_DTYPES, "auto"):
        raise UsageError(f"--compute {text!r} is none of auto, float32, bfloat16 and float16.")
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        if text == "bfloat16" and not native:
            raise DeviceError(f"The GPU {device} has no bfloat16; give --compute float16 or auto.")
        fallback: Compute = "bfloat16" if native else "float16"
    else:
        if text == "float16":
            raise UsageError("--compute float16 needs a GPU; on the CPU give float32, bfloat16 or auto.")
        fallback = "bfloat16" if has_fast_bfloat16() else "float32"
    for known in ("float32", "bfloat16", "float16"):
        if text == known:
            return known
    return fallback


def torch_dtype(compute: Compute) -> torch.dtype:
    return _DTYPES[compute]


def has_fast_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether a network runs faster in bfloat16 than in float32 on this CPU.

    It depends on the CPU's features, not on a measurement, so that a run and its resumption decide alike. It is faster
    with matrix units (AMX). With only AVX-512 BF16 it is faster on AMD's CPUs, where ResNet152 ran at 2.1 times the
    speed of float32, but not on Intel's, where it ran at 0.8 times.
    """
    there = flags(cpuinfo)
    return "amx_bf16" in there or ("avx512_bf16" in there and vendor(cpuinfo) == "AuthenticAMD")
