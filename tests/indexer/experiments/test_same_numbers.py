"""The numbers of an experiment depend neither on the number of threads nor on the kernels of BLAS."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike_indexer.collection.storage import Storage

PROGRAM = Path(__file__).with_name("print_numbers.py")
# Kernels that every processor of the kind has, and that add in another order than newer ones.
OLDEST_KERNEL = {"x86_64": "Prescott", "AMD64": "Prescott", "aarch64": "ARMV8", "arm64": "ARMV8"}
# Experiments that a server answers itself, and exact results.
EXACT = ("split_label", "oddballs", "image_clusters", "explain", "interpret_clusters")


@pytest.fixture
def collection(make_collection, clustered, publish_clustering, publish_predictions) -> Storage:
    """240 images of 4 labels and 6 overlapping groups, in which rounding matters."""
    labels = [f"label{row % 4}" for row in range(240)]
    storage = make_collection(clustered(240, 512, 6, spread=2.0), labels=labels)
    publish_clustering(storage, [row % 6 for row in range(240)], name="k6")
    publish_predictions(storage, [[f"class {row % 5}", "rest"] for row in range(240)])
    return storage


def numbers_with(storage: Storage, **environment: str) -> dict[str, dict[str, list[Any]]]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(storage.root)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, list[Any]]] = json.loads(done.stdout)
    return found


def threads(count: int) -> dict[str, str]:
    return {name: str(count) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def same(one: Any, other: Any) -> bool:
    """Return True for equal values, where NaN equals NaN."""
    return json.dumps(one) == json.dumps(other)


def test_neither_threads_nor_kernels_change_a_number(collection: Storage) -> None:
    alone = numbers_with(collection, **threads(1))
    several = numbers_with(collection, **threads(4))
    for experiment, columns in alone.items():
        for column, values in columns.items():
            assert same(several[experiment][column], values), f"{experiment}: {column} with 4 threads"
    kernel = OLDEST_KERNEL.get(platform.machine())
    if kernel is None:
        pytest.skip(f"no kernel of OpenBLAS is known that every {platform.machine()} has")
    older = numbers_with(
        collection, OPENBLAS_CORETYPE=kernel, NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX2 FMA3", **threads(2)
    )
    for experiment in EXACT:
        for column, values in alone[experiment].items():
            assert same(older[experiment][column], values), f"{experiment}: {column} by {kernel}'s kernels"
    # docs/experiments.md states these tolerances.
    for experiment in ("class_matrix", "choose_k"):
        for column, values in alone[experiment].items():
            if all(isinstance(value, float) for value in values):
                np.testing.assert_allclose(older[experiment][column], values, rtol=1e-6, err_msg=column)
            else:
                assert same(older[experiment][column], values), column
    for column in ("map x", "map y"):
        np.testing.assert_allclose(older["pca"][column], alone["pca"][column], atol=1e-4)
