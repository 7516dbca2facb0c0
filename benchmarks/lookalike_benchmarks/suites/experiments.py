"""Suite experiments: seconds and peak memory of experiments over many images, in a process each."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lookalike_benchmarks.experimenting import EXPERIMENTS, run_one, write
from lookalike_benchmarks.labeled import Labeled
from lookalike_benchmarks.options import Options
from lookalike_benchmarks.processes import in_fresh_process
from lookalike_benchmarks.results import Row, Settings

# A small dim, so that a million images fit on the disk; only experiments that read embeddings depend on it.
USUAL = {"rows": "1000000", "dim": "64", "classes": "1000", "clusters": "800", "experiments": ";".join(EXPERIMENTS)}
QUICK = {"rows": "1000", "dim": "8", "classes": "20", "clusters": "16"}


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite experiments."""
    options = Options(settings, USUAL, QUICK)
    wanted = Labeled(
        rows=options.number("rows"),
        dim=options.number("dim"),
        classes=options.number("classes"),
        clusters=options.number("clusters"),
        seed=settings.seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(folder) / "collection")
        written = in_fresh_process(write, root, wanted)
        params = {**dataclasses.asdict(wanted), "bytes": written.result}
        for name in options.texts("experiments"):
            fresh = in_fresh_process(run_one, root, name)
            memory = {"base_rss_mib": fresh.base_rss_mib, "peak_rss_mib": fresh.peak_rss_mib}
            yield Row(
                "experiments",
                f"{name}, {wanted.rows:,} images",
                params,
                {**fresh.result, **memory},
                "the first run reads the columns and imports libraries; the second has both",
            )
