from __future__ import annotations

import pytest

from lookalike_benchmarks import generated_images
from lookalike_benchmarks.forward import operations
from lookalike_indexer.collection.spec import PreprocessingSpec
from lookalike_indexer.models.network import Network, Node
from lookalike_indexer.models.nodes import trace
from lookalike_indexer.models.untrained import untrained


def test_stages_types_and_the_whole_are_measured(bench):
    rows = {row["case"]: row for row in bench("embed")}
    assert {case for case in rows if "decode" not in case} == {
        "write embeddings to Parquet",
        *(f"matrix product {compute}, cpu" for compute in ("float32", "bfloat16")),
        *(f"forward {compute} batch {batch}, cpu" for compute in ("float32", "bfloat16") for batch in (1, 4)),
        "bfloat16 over float32, cpu",
        "pipeline over forward, cpu",
    }
    assert rows["decode, 1 worker"]["params"]["crop"] == 224
    forward = rows["forward float32 batch 4, cpu"]
    flop = 2e9 * forward["params"]["gmac_per_image"]
    assert forward["measured"]["tflop_per_s"] * 1e12 == pytest.approx(forward["measured"]["images_per_s"] * flop)
    peak = rows["matrix product float32, cpu"]["measured"]["tflop_per_s"]
    assert forward["measured"]["share_of_matrix_peak"] == pytest.approx(forward["measured"]["tflop_per_s"] / peak)

    types = rows["bfloat16 over float32, cpu"]
    assert 0.98 < types["measured"]["cosine_min"] <= types["measured"]["cosine_mean"] <= 1.0001
    assert "untrained" in types["note"]
    whole = rows["pipeline over forward, cpu"]
    assert whole["params"]["images"] == whole["params"]["rounds"] * 8
    assert whole["measured"]["ratio_min"] <= whole["measured"]["ratio_median"] <= whole["measured"]["ratio_max"]
    assert whole["params"]["compute"] in ("float32", "bfloat16")


def test_too_few_or_damaged_images_are_reported(invoke, tmp_path):
    generated_images.like_photographs(tmp_path / "photos", 11, seed=1)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    result = invoke("embed", "--photos", str(tmp_path / "photos"), "--set", "rounds=3")
    assert result.exit_code == 0, result.output
    assert "1 of 3 rounds of the pipeline is left out: the images are too few." in result.output
    assert "could not be decoded" in result.output


def test_operation_counts_match_the_literature():
    transforms = PreprocessingSpec(256, 224, (0.5,) * 3, (0.5,) * 3, "bilinear", True)
    network = Network(trace(untrained("resnet18", 0)), [Node("flatten", "avg")], transforms, "cpu", "float32")
    # 1.8 GMAC: He et al., Deep residual learning for image recognition (2015), table 1.
    assert operations(network, 224) / 2e9 == pytest.approx(1.81, abs=0.01)
