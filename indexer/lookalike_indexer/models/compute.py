"""In which floating-point type a network computes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from lookalike_indexer.errors import DeviceError, UsageError
from lookalike_indexer.processor import CPUINFO, flags, vendor

Compute = Literal["float32", "bfloat16", "float16"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_compute(text: str, device: str) -> Compute:
    """What "auto" means on a device, or `text` itself when the device can do it.

    On GPUs that is bfloat16, float16 on those too old for it; on processors
    bfloat16 where it is faster, see `has_fast_bfloat16`.
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
    """Whether a network runs faster in bfloat16 than in float32 on this processor.

    Told by what it is, not by a measurement, so that a run and its resumption decide alike. With matrix units for it
    (AMX); with AVX-512 BF16 alone on AMD's processors, where ResNet152 was measured at 2.1 times the speed of float32,
    but not on Intel's, where it was 0.8.
    """
    there = flags(cpuinfo)
    return "amx_bf16" in there or ("avx512_bf16" in there and vendor(cpuinfo) == "AuthenticAMD")
