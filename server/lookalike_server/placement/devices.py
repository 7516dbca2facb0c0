"""Devices that can hold an index, behind one interface."""

from __future__ import annotations

from typing import Any, Protocol

import faiss

from lookalike_indexer.errors import DeviceError
from lookalike_indexer.indexing.two_stage import is_two_stage

# Largest k and nprobe of faiss's GPU kernels.
GPU_SELECTION = 2048
# float32 entries in the 48 KiB of shared memory that faiss assumes.
_FLOAT32_ENTRIES = 12288


class Device(Protocol):
    """A device that can search an index.

    `name` appears in replies. `max_selection` bounds k and nprobe; None means unbounded.
    """

    name: str
    max_selection: int | None

    def host(self, index: faiss.Index) -> Any:
        """Return the index in the form this device searches: a faiss.Index or a look-alike.

        Raises DeviceError if it cannot.
        """
        ...


class Cpu:
    """The processor, which searches an index as loaded."""

    max_selection: int | None = None

    def __init__(self, name: str = "cpu") -> None:
        self.name = name

    def host(self, index: faiss.Index) -> faiss.Index:
        return index


class Gpu:
    """One GPU. Holds the vectors of a flat index, or a clone of another index with faiss's scratch memory."""

    max_selection: int | None = GPU_SELECTION

    def __init__(self, number: int) -> None:
        self.name = f"cuda:{number}"
        self._number = number

    def host(self, index: faiss.Index) -> Any:
        if is_two_stage(index):
            raise DeviceError(
                f"The index cannot be put on {self.name}: principal components are searched only on the processor. "
                "Serve it with --placement cpu, or build one of the kinds Flat, SQfp16, IVF,Flat, IVF,SQ or IVF,PQ."
            )
        try:
            if not holds_vectors(index):
                return self._clone(index)
            # Imported here because torch takes seconds to import, and other servers do not need it.
            from lookalike_server.placement.exact import ExactIndex

            return ExactIndex(index, self.name)
        except RuntimeError as error:
            raise DeviceError(
                f"The index cannot be put on {self.name} ({_first_line(error)}); "
                "serve it with --placement cpu, or build one of the kinds Flat, SQfp16, IVF,Flat, IVF,SQ or IVF,PQ."
            ) from error

    def _clone(self, index: faiss.Index) -> faiss.Index:
        resources = faiss.StandardGpuResources()
        options = faiss.GpuClonerOptions()
        # Rows may exceed 2^31. This is the default, but stated because answers depend on it.
        options.indicesOptions = faiss.INDICES_64_BIT
        options.useFloat16 = needs_half_tables(index)
        # The clone keeps a reference to the resources.
        return faiss.index_cpu_to_gpu(resources, self._number, index, options)


def holds_vectors(index: faiss.Index) -> bool:
    """Return whether an index is a plain array of its vectors, in float32 or float16."""
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexScalarQuantizer):
        return bool(kind.sq.qtype == faiss.ScalarQuantizer.QT_fp16)
    return type(kind) in (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexFlatL2)


def needs_half_tables(index: faiss.Index) -> bool:
    """Return whether a GPU has room for an index's distance tables in float16 only.

    faiss keeps 2^bits entries for each sub-quantizer in shared memory. For a flat index the same
    option would store the vectors in float16, so it is not set there.
    """
    ivf = faiss.downcast_index(faiss.try_extract_index_ivf(index))
    return isinstance(ivf, faiss.IndexIVFPQ) and ivf.pq.M * ivf.pq.ksub > _FLOAT32_ENTRIES


def _first_line(error: Exception) -> str:
    """Return the reason that faiss gives, without its source location."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.rsplit(": ", 1)[-1][:200]
