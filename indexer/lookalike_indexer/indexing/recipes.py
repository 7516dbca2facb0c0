"""Recipe of an index as a faiss factory string: from the user's setting, or by the number of images."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lookalike_indexer.errors import UsageError
from lookalike_indexer.indexing.settings import BuildSettings

NAMES = ("auto", "flat", "flat-fp16", "ivf-flat", "ivf-fp16", "ivf-sq8", "ivf-pq", "ivf-pqfs", "ivf-rabitq", "hnsw")

# "pca128-hnsw": candidates by 128 principal components, ordered by codes of all dimensions (two_stage.py).
_PROJECTED = re.compile(r"pca(\d+)-(.+)")
_FIRST_STAGES = ("flat", "hnsw", "ivf-sq8")
PROJECTED_NAMES = tuple(f"pcaN-{first}" for first in _FIRST_STAGES)
# The numbers of components that are tried.
COMPONENTS = (64, 128, 256, 512)

# Below this an exact search of 2048 dimensions takes a few milliseconds, and an index brings no gain.
_FLAT_BELOW = 20_000
_GRAPH_UP_TO = 300_000
# faiss requires at least 39 training vectors for each list.
_POINTS_PER_LIST = 39
_MOST_LISTS = 65_536
# More than 64 training vectors for each list change recall little, and all of them are held in memory.
_TRAIN_PER_LIST = 64
_TRAIN_OTHERS = 65_536
# The code sizes of faiss's GPU kernels, except 96: with 8-bit codes its tables exceed a kernel's shared memory.
_GPU_CODE_SIZES = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
RECALL_QUERIES = 500


@dataclass(frozen=True)
class Recipe:
    """A faiss factory string, the number of training vectors (0: needs none), and the reason for the choice."""

    factory: str
    train_size: int
    reason: str


def choose(rows: int, dim: int, settings: BuildSettings) -> Recipe:
    """Return the recipe for `rows` vectors of `dim` dimensions.

    Raise UsageError for settings that contradict each other.
    """
    name = settings.index.strip().lower()
    reason = "as requested"
    if name == "auto":
        name, reason = _automatic(rows, settings)
    if name == "flat":
        refuse_nlist(settings)
        return Recipe("Flat", 0, reason)
    if name == "flat-fp16":
        refuse_nlist(settings)
        return Recipe("SQfp16", 0, reason)
    if name == "hnsw":
        refuse_nlist(settings)
        return Recipe("HNSW32,SQ8", _train_size(rows, _TRAIN_OTHERS, settings), reason)
    if name in NAMES:
        nlist, nlist_reason = _lists(rows, settings)
        factory = f"IVF{nlist},{_codes(name, dim)}"
        return Recipe(factory, _train_size(rows, _TRAIN_PER_LIST * nlist, settings), f"{reason}; {nlist_reason}")
    if projected := parse_projected(name):
        return _projected(*projected, rows, settings, reason)
    refuse_nlist(settings)
    return Recipe(settings.index.strip(), _train_size(rows, _TRAIN_OTHERS, settings), reason)


def parse_projected(name: str) -> tuple[int, str] | None:
    """Return the number of components and the type of the first stage in a name such as "pca128-hnsw", else None."""
    found = _PROJECTED.fullmatch(name)
    return (int(found[1]), found[2]) if found and found[2] in _FIRST_STAGES else None


def candidates(rows: int, components: Sequence[int] = ()) -> list[str]:
    """Return the index types worth trying for `rows` images on a CPU, with these numbers of components."""
    # One thread fills a graph, so that it is reproducible: a million images would take hours.
    graph = ["hnsw"] if rows <= _GRAPH_UP_TO else []
    firsts = ["flat", "ivf-sq8", *graph]
    projected = [f"pca{count}-{first}" for count in components for first in firsts]
    return ["flat", "ivf-fp16", "ivf-sq8", "ivf-rabitq", "ivf-pqfs", *graph, *projected]


def held_out_count(rows: int) -> int:
    """Return how many vectors to keep from training, as queries that measure recall."""
    return min(RECALL_QUERIES, math.ceil(rows / 10))


def _projected(components: int, first: str, rows: int, settings: BuildSettings, reason: str) -> Recipe:
    train_size = _train_size(rows, _TRAIN_OTHERS, settings)
    if first == "ivf-sq8":
        nlist, nlist_reason = _lists(rows, settings)
        train_size, reason = _train_size(rows, _TRAIN_PER_LIST * nlist, settings), f"{reason}; {nlist_reason}"
        first = f"IVF{nlist},SQ8"
    else:
        refuse_nlist(settings)
        first = {"flat": "SQ8", "hnsw": "HNSW32,SQ8"}[first]
    return Recipe(f"PCA{components},{first},Refine(SQ8)", train_size, reason)


def _automatic(rows: int, settings: BuildSettings) -> tuple[str, str]:
    if settings.nlist is not None:
        return "ivf-fp16", "inverted lists of float16 codes, since --nlist was given"
    if rows < _FLAT_BELOW:
        return "flat", f"exact search is quick enough for {rows} images, fewer than {_FLAT_BELOW}"
    return "ivf-fp16", f"inverted lists of float16 codes for {rows} images, which GPUs can hold"


def worth_trying(rows: int, settings: BuildSettings) -> bool:
    """Return whether "auto" leaves the type open, so that candidates are to be tried."""
    return settings.index.strip().lower() == "auto" and settings.nlist is None and rows >= _FLAT_BELOW


def list_count(rows: int, settings: BuildSettings) -> int:
    """Return the number of inverted lists for `rows` vectors. Raise UsageError for more lists than vectors."""
    return _lists(rows, settings)[0]


def _lists(rows: int, settings: BuildSettings) -> tuple[int, str]:
    """Return the number of inverted lists and the reason for it."""
    trainable = rows - held_out_count(rows)
    if settings.nlist is not None:
        if settings.nlist > rows:
            raise UsageError(f"--nlist {settings.nlist}: there are only {rows} images; ask for at most {rows} lists.")
        return settings.nlist, "nlist as requested"
    if settings.train_size is not None:
        trainable = min(rows, settings.train_size)
    most = min(max(1, trainable // _POINTS_PER_LIST), _MOST_LISTS)
    wanted = 4 * math.sqrt(rows)
    if wanted > most:
        nlist = 2 ** math.floor(math.log2(most))
        return nlist, f"nlist {nlist}, so that each list has {_POINTS_PER_LIST} or more training vectors"
    nlist = 2 ** round(math.log2(wanted))
    nlist = nlist if nlist <= most else nlist // 2
    return nlist, f"nlist {nlist}, about 4 times the square root of {rows}"


def _codes(name: str, dim: int) -> str:
    if name == "ivf-pq":
        # "np": without the annealing for polysemous search, which takes minutes and is not used.
        return f"PQ{_subquantizers(dim)}np"
    if name == "ivf-pqfs":
        # Found quickly by 4-bit codes in registers (Andre et al., Quicker ADC, 2019), then ordered by finer codes.
        return f"PQ{_largest_divisor(dim, dim // 16)}x4fs,Refine(SQ8)"
    return {"ivf-flat": "Flat", "ivf-fp16": "SQfp16", "ivf-sq8": "SQ8", "ivf-rabitq": "RaBitQ,Refine(SQ8)"}[name]


def _subquantizers(dim: int) -> int:
    """Return the bytes of a product-quantized vector: about a sixteenth of the dimension, a size that GPUs support."""
    sizes = [size for size in _GPU_CODE_SIZES if dim % size == 0]
    return max((size for size in sizes if size <= max(8, dim // 16)), default=1)


def _largest_divisor(number: int, most: int) -> int:
    return next(size for size in range(max(1, most), 0, -1) if number % size == 0)


def _train_size(rows: int, default: int, settings: BuildSettings) -> int:
    if settings.train_size is not None:
        return min(rows, settings.train_size)
    return min(default, max(1, rows - held_out_count(rows)))


def refuse_nlist(settings: BuildSettings) -> None:
    """Raise UsageError if --nlist is given for an index without lists, or whose factory string has their number."""
    if settings.nlist is not None:
        raise UsageError(
            f"--nlist {settings.nlist} goes with the kinds of --index that have ivf- in their names, not with "
            f"{settings.index!r}."
        )
