"""The devices that an index can be put on, behind one small interface."""

from __future__ import annotations

from typing import Any, Protocol

import faiss

from lookalike_indexer.errors import DeviceError
from lookalike_indexer.indexing.two_stage import is_two_stage

# k and nprobe of faiss's GPU kernels.
GPU_SELECTION = 2048
# Entries of float32 in the 48 KiB of shared memory that faiss counts on.
_FLOAT32_ENTRIES = 12288


class Device(Protocol):
    """Somewhere that an index can be searched.

    `name` is how replies call it. `max_selection` bounds k and nprobe; None
    where they have no bound.
    """

    name: str
    max_selection: int | None

    def host(self, index: faiss.Index) -> Any:
        """The index as this device searches it: a faiss.Index, or what is searched as one. DeviceError: it cannot."""
        ...


class Cpu:
    """The processor: an index is searched as it was loaded."""

    max_selection: int | None = None

    def __init__(self, name: str = "cpu") -> None:
        self.name = name

    def host(self, index: faiss.Index) -> faiss.Index:
        return index


class Gpu:
    """One GPU: holds the vectors of a flat index, or a clone of another one with faiss's scratch memory."""

    max_selection: int | None = GPU_SELECTION

    def __init__(self, number: int) -> None:
        self.name = f"cuda:{number}"
        self._number = number

    def host(self, index: faiss.Index) -> Any:
        if is_two_stage(index):
            raise DeviceError(
                f"The index cannot be put on {self.name}: its principal components are searched on the processor. "
                "Serve it with --placement cpu, or build one of the kinds Flat, SQfp16, IVF,Flat, IVF,SQ or IVF,PQ."
            )
        try:
            if not holds_vectors(index):
                return self._clone(index)
            # With torch, which takes seconds to import, and which other servers do without.
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
        # Rows may pass 2^31; the default is said here because answers depend on it.
        options.indicesOptions = faiss.INDICES_64_BIT
        options.useFloat16 = needs_half_tables(index)
        # The clone shares in the resources, and so keeps them.
        return faiss.index_cpu_to_gpu(resources, self._number, index, options)


def holds_vectors(index: faiss.Index) -> bool:
    """Whether an index is a plain array of its vectors, in float32 or float16."""
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexScalarQuantizer):
        return bool(kind.sq.qtype == faiss.ScalarQuantizer.QT_fp16)
    return type(kind) in (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexFlatL2)


def needs_half_tables(index: faiss.Index) -> bool:
    """Whether a GPU has room for an index's tables of distances in float16 only.

    faiss keeps 2^bits entries for each sub-quantizer in shared memory. For a
    flat index the same option would store the vectors in float16, so it is not
    given.
    """
    ivf = faiss.downcast_index(faiss.try_extract_index_ivf(index))
    return isinstance(ivf, faiss.IndexIVFPQ) and ivf.pq.M * ivf.pq.ksub > _FLOAT32_ENTRIES


def _first_line(error: Exception) -> str:
    """The reason that faiss gives, without its source location."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.rsplit(": ", 1)[-1][:200]
