"""Join the results of the calls that a large request was split into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from lookalike._attributes import Attributes
from lookalike._collection import StoredImages, Thumbnails
from lookalike._columns import Float32
from lookalike._errors import GenerationChangedError
from lookalike._memberships import MembershipsBatch
from lookalike._neighbors import NeighborsBatch
from lookalike._served import Plan, Served, Timings

Value = TypeVar("Value")


@dataclass(frozen=True)
class Part:
    """The result of one call, and the row of its first query in the whole request.

    `source` identifies the generation or network of the result if the result does not have it.
    """

    start: int
    result: Any
    source: str = ""


class Sourced(NamedTuple):
    """A result without the field `served`, and the generation or network that it came from."""

    result: Any
    source: str


def neighbors(parts: Sequence[Part]) -> NeighborsBatch:
    """Join the neighbors of all queries. GenerationChangedError: the calls were served by several generations."""
    batches: list[NeighborsBatch] = [part.result for part in parts]
    counts = _rows([batch.counts for batch in batches])
    sizes = [batch.group_sizes for batch in batches if batch.group_sizes is not None]
    whole = NeighborsBatch(
        counts=counts,
        offsets=_read_only(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)),
        ids=_rows([batch.ids for batch in batches]),
        keys=_texts([batch.keys for batch in batches]),
        labels=_texts([batch.labels for batch in batches]),
        distances=_rows([batch.distances for batch in batches]),
        uris=None if batches[0].uris is None else _texts([batch.uris or () for batch in batches]),
        served=_served([batch.served for batch in batches]),
        errors=_errors(parts),
        attributes=_attributes([batch.attributes for batch in batches]),
        vectors=_vectors([batch.vectors for batch in batches if batch.vectors is not None]),
        group_sizes=_texts(sizes) if sizes else None,
        metric=batches[0].metric,
    )
    whole._illustrate(batches[0]._source)
    return whole


def memberships(parts: Sequence[Part]) -> MembershipsBatch:
    """Join the clusters of all queries. GenerationChangedError: the calls were served by several generations."""
    batches: list[MembershipsBatch] = [part.result for part in parts]
    whole = MembershipsBatch(
        clusterings=batches[0].clusterings,
        clusters=_rows([batch.clusters for batch in batches]),
        distances=_rows([batch.distances for batch in batches]),
        margins=_rows([batch.margins for batch in batches]),
        sizes=_rows([batch.sizes for batch in batches]),
        nearest=_texts([batch.nearest for batch in batches]),
        metrics=batches[0].metrics,
        served=_served([batch.served for batch in batches]),
        errors=_errors(parts),
    )
    whole._illustrate(batches[0]._source)
    return whole


def images(parts: Sequence[Part]) -> StoredImages:
    """Join the stored images of all calls. GenerationChangedError: they are of several generations."""
    found: list[StoredImages] = [part.result for part in parts]
    whole = StoredImages(
        ids=_rows([one.ids for one in found]),
        keys=_texts([one.keys for one in found]),
        labels=_texts([one.labels for one in found]),
        uris=_texts([one.uris for one in found]),
        widths=_rows([one.widths for one in found]),
        heights=_rows([one.heights for one in found]),
        attributes=_attributes([one.attributes for one in found]),
        served=_served([one.served for one in found if one.served is not None]),
    )
    whole._illustrate(found[0]._source)
    return whole


def thumbnails(parts: Sequence[Part]) -> Thumbnails:
    """Join the thumbnails of all calls."""
    found: list[Thumbnails] = [part.result for part in parts]
    return Thumbnails(_texts([one.jpegs for one in found]), _served([one.served for one in found]))


def vectors(parts: Sequence[Part]) -> Float32:
    """Join the vectors, float32, (n, dim). GenerationChangedError: they come from several sources."""
    sources = list(dict.fromkeys(part.source for part in parts))
    if len(sources) > 1:
        raise _changed(sources[0], sources[-1].rpartition(" ")[2])
    return _rows([part.result for part in parts])


def _served(parts: Sequence[Served]) -> Served:
    """Combine the reports: add the timings; keep the most careful value of each other field."""
    first, last = parts[0], parts[-1]
    generations = {part.generation for part in parts}
    if len(generations) > 1:
        raise _changed(f"generation {first.generation}", str(last.generation))
    times = [dataclasses.astuple(part.timings) for part in parts]
    recalls = [part.expected_recall for part in parts]
    return dataclasses.replace(
        first,
        nprobe=max(part.nprobe for part in parts),
        expected_recall=None if None in recalls else min(recall for recall in recalls if recall is not None),
        batch_size=max(part.batch_size for part in parts),
        timings=Timings(*(sum(column) for column in zip(*times, strict=True))),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        plan=_plan([part.plan for part in parts if part.plan is not None]),
        sequence=min(part.sequence for part in parts),
    )


def _changed(first: str, last: str) -> GenerationChangedError:
    return GenerationChangedError(
        f"The collection went from {first} to {last} during the request, which the client sent in several calls; "
        "send it again."
    )


def _plan(plans: Sequence[Plan]) -> Plan | None:
    if not plans:
        return None
    shares = [plan.local_share for plan in plans if plan.local_share is not None]
    return dataclasses.replace(
        plans[0],
        lists_visited=max(plan.lists_visited for plan in plans),
        lists_skipped=max(plan.lists_skipped for plan in plans),
        local_share=min(shares) if shares else None,
    )


def _errors(parts: Sequence[Part]) -> dict[int, str]:
    return {part.start + row: why for part in parts for row, why in _errors_of(part).items()}


def _errors_of(part: Part) -> Mapping[int, str]:
    errors: Mapping[int, str] = part.result.errors
    return errors


def _attributes(parts: Sequence[Attributes]) -> Attributes:
    return Attributes({name: _texts([part[name] for part in parts]) for name in parts[0]})


def _vectors(parts: Sequence[Float32]) -> Float32 | None:
    # Parts without any neighbor do not tell the dimension.
    told = [part for part in parts if len(part)] or list(parts[:1])
    return _rows(told) if told else None


def _texts(parts: Sequence[Sequence[Value]]) -> tuple[Value, ...]:
    return tuple(value for part in parts for value in part)


def _rows(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return _read_only(np.concatenate(parts))


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.setflags(write=False)
    return array
