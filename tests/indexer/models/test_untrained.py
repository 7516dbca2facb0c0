from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from lookalike_indexer.errors import DataLossError
from lookalike_indexer.models.untrained import calibrate, restore, state_digest, statistics, statistics_of, untrained

SCRIPT = """
import hashlib, torch
from lookalike_indexer.models.untrained import calibrate, state_digest, statistics, untrained
torch.rand(7)
module = untrained("shufflenet_v2_x0_5", 3)
images = torch.linspace(-2, 2, 4 * 3 * 64 * 64).reshape(4, 3, 64, 64)
calibrate(module, module, images)
print(state_digest(module), hashlib.sha256(statistics(module, 'net')).hexdigest())
"""


def noise(images: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((images, 3, 64, 64), np.float32))


def test_seed_gives_the_same_network_in_every_process():
    outputs = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()[0]) == 64


def test_seeds_differ_and_leave_the_callers_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    digests = {state_digest(untrained("shufflenet_v2_x0_5", seed)) for seed in (0, 1, 2)}
    assert len(digests) == 3
    assert torch.equal(torch.rand(1), expected)


def test_calibration_keeps_a_deep_network_finite():
    module = untrained("resnet152", 0)
    images = noise(4)
    with torch.inference_mode():
        wild = module(images).abs().max()
    calibrate(module, module, images)
    with torch.inference_mode():
        tamed = module(images).abs().max()
    assert wild > 1e4
    assert tamed < 100
    assert not any(part.training for part in module.modules())


def test_statistics_round_trip_and_equal_statistics_have_equal_bytes():
    calibrated, fresh = untrained("shufflenet_v2_x0_5", 0), untrained("shufflenet_v2_x0_5", 0)
    calibrate(calibrated, calibrated, noise(4))
    assert state_digest(calibrated) != state_digest(fresh)
    restore(fresh, statistics(calibrated, "mine"), "file")
    assert state_digest(calibrated) == state_digest(fresh)
    assert statistics(fresh, "mine") == statistics(calibrated, "mine")
    assert statistics_of(statistics(fresh, "mine"), "file") == "mine"


def test_statistics_of_another_network_are_rejected():
    small = untrained("shufflenet_v2_x0_5", 0)
    for data in (statistics(untrained("mnasnet0_5", 0), "other"), b"", b"PK\x03\x04 nothing"):
        with pytest.raises(DataLossError, match=r"batchnorm\.npz does not hold the batch-norm statistics"):
            restore(small, data, "batchnorm.npz")
