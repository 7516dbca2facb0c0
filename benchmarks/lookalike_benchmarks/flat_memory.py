"""Measurement of memory as the number of images grows, which should stay flat.

Embeds generated folders with the `lookalike embed` command and a small network, and
samples the resident memory of that process, and of it with all its workers: peaks of
the whole run, and of its second half.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lookalike_benchmarks import generated_images
from lookalike_benchmarks.processes import resident

MODEL = "shufflenet_v2_x0_5"
WORKERS = 2


@dataclass(frozen=True)
class Peaks:
    """MiB of resident memory at the peak of a run, and of its second half; shared pages count in each process."""

    own_mib: int
    with_workers_mib: int
    late_own_mib: int
    late_with_workers_mib: int
    seconds: float


def peaks(images: int, part_size: int) -> Peaks:
    """Embed `images` images on the processor and sample the memory."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        generated_images.small(photos, images, seed=0)
        command = [sys.executable, "-m", "lookalike", "embed", str(photos), "--collection", f"{folder}/collection"]
        options = ["--model", MODEL, "--weights", "untrained", "--part-size", str(part_size)]
        began = time.perf_counter()
        samples = resident([*command, *options, "--workers", str(WORKERS)])
        seconds = time.perf_counter() - began
    late = samples[len(samples) // 2 :]
    return Peaks(
        own_mib=max(own for own, _ in samples) >> 20,
        with_workers_mib=max(own + workers for own, workers in samples) >> 20,
        late_own_mib=max(own for own, _ in late) >> 20,
        late_with_workers_mib=max(own + workers for own, workers in late) >> 20,
        seconds=seconds,
    )
