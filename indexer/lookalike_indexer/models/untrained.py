"""Untrained networks: random weights from a seed, and batch norms calibrated on real images.

With running statistics of 0 and 1 the activations of a deep random network grow from layer to layer until they are
infinite. Statistics from some images of the collection keep them near unit size. They are stored in the collection, so
that later runs and servers have the same network.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lookalike_indexer.errors import DataLossError
from lookalike_indexer.models.architecture import build

FILE = "batchnorm.npz"
_NETWORK = "network"
CLASSES = 1000
_BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm  # the base of all of them has no public name


def untrained(arch: str, seed: int, image_size: int | None = None) -> torch.nn.Module:
    """Return the network of a seed, in eval mode, the same in every process.

    `image_size` is the side in pixels of the images of a vision transformer (None: 224); other networks ignore it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(arch, CLASSES, transform_input=False, image_size=image_size)


def batch_norms(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the batch norms of a network that keep statistics, by name."""
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, _BATCH_NORM) and part.running_mean is not None
    }


def calibrate(module: torch.nn.Module, forward: Callable[[torch.Tensor], object], images: torch.Tensor) -> None:
    """Set the batch norms' statistics to those of one batch of normalized images, float32, n x 3 x crop x crop.

    All other parts stay in eval mode, so that nothing random happens.
    """
    norms = [part for part in batch_norms(module).values() if isinstance(part, _BATCH_NORM)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
        norm.train()
    with torch.no_grad():
        forward(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def statistics(module: torch.nn.Module, network: str) -> bytes:
    """Return the batch norms' statistics as an .npz file; equal statistics give equal bytes.

    `network` is the description of the network; `statistics_of` returns it.
    """
    arrays: dict[str, npt.NDArray[Any]] = {_NETWORK: np.array(network)}
    for name, norm in batch_norms(module).items():
        arrays[f"{name}.running_mean"] = norm.get_buffer("running_mean").numpy()
        arrays[f"{name}.running_var"] = norm.get_buffer("running_var").numpy()
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]  # its stubs take the names for allow_pickle
    return out.getvalue()


def statistics_of(data: bytes, source: str) -> str:
    """Return the description of the network in a statistics file. Raise DataLossError for another type of file."""
    with _opened(data, source) as arrays:
        return str(arrays[_NETWORK])


def restore(module: torch.nn.Module, data: bytes, source: str) -> None:
    """Load stored statistics. Raise DataLossError if they do not belong to this network."""
    with _opened(data, source) as arrays:
        for name, norm in batch_norms(module).items():
            for buffer in ("running_mean", "running_var"):
                norm.get_buffer(buffer).copy_(torch.from_numpy(arrays[f"{name}.{buffer}"]))


@contextmanager
def _opened(data: bytes, source: str) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            yield arrays
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataLossError(f"{source} does not hold the batch-norm statistics of this network.") from error


def state_digest(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a network's whole state, names and values, except counters that only training uses."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(np.ascontiguousarray(value.numpy()).data)
    return digest.hexdigest()
