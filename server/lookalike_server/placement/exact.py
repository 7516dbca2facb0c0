"""Exact search on a GPU: one matrix product in float32 or float16 compares all vectors.

For a single query, faiss's flat GPU index reaches half of the memory bandwidth. For a thousand
queries in float16, it reaches a twentieth of the tensor cores' speed (docs/performance-notes.md).
So torch searches flat indexes here: the product, then the maximum of each group of neighboring
scores, then the groups that can hold one of the k best.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lookalike_indexer.arrays import Float32, Int64
from lookalike_server.columns.row_mask import RowMask

# Scores held at once, 1 GiB, and vector elements compared again at once.
_SCORES, _COMPARED = 1 << 28, 1 << 27
# Up to this share of the rows, the allowed rows are gathered before the product.
_GATHERED_SHARE = 0.3
# Scores per group. A topk over all scores would take longer than the product.
_GROUP = 64


class _Block(NamedTuple):
    """A block of vectors, from row `start` on, or of `rows`. `banned` (vectors,) rows are excluded.

    `half_squares` holds half of the squared norms, for squared distances.
    """

    start: int
    rows: Tensor | None
    vectors: Tensor
    half_squares: Tensor | None
    banned: Tensor | None


class ExactIndex:
    """Vectors of a flat faiss index (devices.holds_vectors) on a device, searched as faiss searches them.

    `index` is an IndexFlat, kept in float32, or an IndexScalarQuantizer of float16, kept as
    float16. Scores are those of faiss for the index's metric: inner products or squared distances.
    """

    def __init__(self, index: faiss.Index, device: str) -> None:
        self.d, self.ntotal = int(index.d), int(index.ntotal)
        self._by_product = index.metric_type == faiss.METRIC_INNER_PRODUCT
        self._vectors = torch.from_numpy(stored_vectors(index)).to(device, copy=True)
        self._half = self._vectors.dtype == torch.float16
        self._half_squares = None if self._by_product else self._squares() / 2

    def search(self, queries: Float32, k: int, params: faiss.SearchParameters | None = None) -> tuple[Float32, Int64]:
        """Return the scores and rows of the k best, k <= ntotal, for each query (n, d): both (n, k), best first."""
        with torch.inference_mode():
            asked = torch.from_numpy(queries).to(self._vectors.device)
            rows, _ = self._best(asked, k, self._blocks(self._step(len(asked), k)))
            rows, scores = self._compared_again(asked, rows)
            return scores.float().cpu().numpy(), rows.cpu().numpy()

    def search_allowed(self, queries: Float32, k: int, mask: RowMask) -> tuple[Float32, Int64]:
        """Search as `search` does, but only rows of a mask. If there are fewer than k, rows end with -1.

        A few allowed rows are gathered before the product. If there are many, the product covers
        all rows, and the scores of the others are masked afterwards.
        """
        scores, rows = np.zeros((len(queries), k), np.float32), np.full((len(queries), k), -1, np.int64)
        there = min(k, mask.count)
        if not there:
            return scores, rows
        with torch.inference_mode():
            asked = torch.from_numpy(queries).to(self._vectors.device)
            step = self._step(len(asked), there)
            few = mask.share < _GATHERED_SHARE
            blocks = (
                self._gathered(mask, min(step, max(there, _COMPARED // self.d))) if few else self._struck(mask, step)
            )
            found, values = self._compared_again(asked, self._best(asked, there, blocks)[0])
            scores[:, :there], rows[:, :there] = values.float().cpu().numpy(), found.cpu().numpy()
        return scores, rows

    def _step(self, queries: int, k: int) -> int:
        """Return how many vectors to compare at once."""
        return max(k, _SCORES // queries // _GROUP * _GROUP)

    def _blocks(self, step: int) -> Iterator[_Block]:
        for start in range(0, self.ntotal, step):
            here = slice(start, start + step)
            yield _Block(start, None, self._vectors[here], self._half_squares_of(here), None)

    def _gathered(self, mask: RowMask, step: int) -> Iterator[_Block]:
        chosen = torch.from_numpy(mask.rows).to(self._vectors.device)
        for start in range(0, len(chosen), step):
            rows = chosen[start : start + step]
            yield _Block(0, rows, self._vectors[rows], self._half_squares_of(rows), None)

    def _struck(self, mask: RowMask, step: int) -> Iterator[_Block]:
        banned = torch.from_numpy(~mask.bools).to(self._vectors.device)
        for block in self._blocks(step):
            yield block._replace(banned=banned[block.start : block.start + step])

    def _half_squares_of(self, rows: slice | Tensor) -> Tensor | None:
        return None if self._half_squares is None else self._half_squares[rows]

    def _best(self, asked: Tensor, k: int, blocks: Iterable[_Block]) -> tuple[Tensor, Tensor]:
        factor = asked.to(self._vectors.dtype)
        rows: list[Tensor] = []
        scores: list[Tensor] = []
        for block in blocks:
            found = self._products(factor, block.vectors)
            if block.half_squares is not None:
                found -= block.half_squares
            if block.banned is not None:
                found.masked_fill_(block.banned, -torch.inf)
            values, columns = largest(found, min(k, found.shape[1]))
            rows.append(columns + block.start if block.rows is None else block.rows[columns])
            scores.append(values)
        if len(rows) == 1:
            return rows[0], scores[0]
        values, places = torch.cat(scores, dim=1).topk(k, dim=1)
        return torch.cat(rows, dim=1).gather(1, places), values

    def _products(self, factor: Tensor, vectors: Tensor) -> Tensor:
        """Return inner products in float32, (n, rows)."""
        if not self._half:
            return factor @ vectors.T
        if vectors.device.type == "cuda":
            return torch.mm(factor, vectors.T, out_dtype=torch.float32)
        return factor.float() @ vectors.float().T

    def _compared_again(self, asked: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same rows in the order of their scores in float64.

        The product's rounding depends on the batch's shape. It may round queries to float16, and it
        computes a small squared distance as the difference of large numbers.
        """
        scores = torch.empty(rows.shape, dtype=torch.float64, device=rows.device)
        step = max(1, _COMPARED // (rows.shape[1] * self.d))
        for start in range(0, len(rows), step):
            vectors = self._vectors[rows[start : start + step]].double()
            queries = asked[start : start + step].double().unsqueeze(1)
            if self._by_product:
                scores[start : start + step] = (vectors * queries).sum(dim=2)
            else:
                scores[start : start + step] = (vectors - queries).square().sum(dim=2)
        order = scores.argsort(dim=1, descending=self._by_product, stable=True)
        return rows.gather(1, order), scores.gather(1, order)

    def _squares(self) -> Tensor:
        blocks = torch.split(self._vectors, 1 << 16)
        return torch.cat([block.double().square().sum(dim=1).float() for block in blocks])


def stored_vectors(index: faiss.Index) -> npt.NDArray[np.float32] | npt.NDArray[np.float16]:
    """Return the vectors of a flat index as stored, (ntotal, d); a view of its memory."""
    kind = faiss.downcast_index(index)
    if isinstance(kind, faiss.IndexFlat):
        flat: Float32 = faiss.rev_swig_ptr(kind.get_xb(), kind.ntotal * kind.d).reshape(kind.ntotal, kind.d)
        return flat
    codes: npt.NDArray[np.uint8] = faiss.rev_swig_ptr(kind.codes.data(), kind.ntotal * kind.code_size)
    return codes.view(np.float16).reshape(kind.ntotal, kind.d)


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest scores of each row (n, columns) and their columns, descending."""
    whole = scores.shape[1] // _GROUP * _GROUP
    groups = whole // _GROUP
    if groups < 4 * k:
        return scores.topk(k, dim=1)
    # Only the k groups with the largest maxima, and the columns after the last full group, can hold one of the k
    # largest.
    maxima = scores[:, :whole].reshape(len(scores), groups, _GROUP).amax(dim=2)
    chosen = maxima.topk(k, dim=1).indices
    columns = (chosen.unsqueeze(2) * _GROUP + torch.arange(_GROUP, device=scores.device)).flatten(1)
    rest = torch.arange(whole, scores.shape[1], device=scores.device).expand(len(scores), -1)
    columns = torch.cat([columns, rest], dim=1)
    values, places = scores.gather(1, columns).topk(k, dim=1)
    return values, columns.gather(1, places)
