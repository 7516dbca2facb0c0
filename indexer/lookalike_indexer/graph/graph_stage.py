"""Graph stage of a space, part by part; a collection that has grown keeps its existing lists."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.commands import command
from lookalike_indexer.collection.current import coverage_note, covers
from lookalike_indexer.collection.manifest import GraphEntry, IndexEntry, Manifest
from lookalike_indexer.collection.metrics import metric_of
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.spec import Metric, digest_of
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotBuiltError, UsageError
from lookalike_indexer.graph.each_pair import each_pair, is_worth_it
from lookalike_indexer.graph.finders import Comparison, Finder
from lookalike_indexer.graph.groups import Group, groups
from lookalike_indexer.graph.lists import Neighbors, merged, write_neighbors
from lookalike_indexer.graph.settings import GraphSettings
from lookalike_indexer.progress import Progress

# Up to this many images, a comparison with all images takes no longer than building an index.
_FEW = 20_000
# From this many images on, candidates by principal components take less time; up to this many, they fit into memory.
_COMPONENTS_FROM, _COMPONENTS_UP_TO = 10_000, 300_000
# The maximum number of neighbors for that: each needs up to six candidates in memory.
_COMPONENTS_K = 64
# Their groups are this many times larger: each group takes one more pass over the embeddings.
_TIMES = 4
# If this share of the images is new, an approximate graph is recreated: comparing old with new images takes longer.
_MUCH = 0.25


@dataclass(frozen=True)
class GraphReport:
    """The result of the stage: `reason` is the method, `reused` the number of parts that an earlier run had written.

    `extended` images had neighbors before, and were compared only with the new images.
    """

    entry: GraphEntry
    reason: str
    reused: int
    extended: int


def run_graph(
    storage: Storage, draft: Manifest, settings: GraphSettings, progress: Progress
) -> tuple[Manifest, GraphReport]:
    """Create the graph of a space of a completed draft, and return the draft with it; publish nothing.

    A part that an earlier run with the same settings and embeddings finished is reused. Raise NotFoundError if the
    space or index does not exist. Raise NotBuiltError if the space is empty, or lacks a required index, or its index
    lacks images. Raise UsageError for an index of another metric. Raise IndexerError if an embedding is not finite.
    """
    reader = CollectionReader(storage, draft)
    space, entry = reader.space(settings.space)
    if entry.rows == 0:
        raise NotBuiltError(f"The space {space} has no embeddings; index a source with readable images.")
    plan = _plan(reader, space, settings)
    before = draft.graphs.get(space)
    same = before is not None and covers(draft, before) and _is_of_all(draft, before)
    if before is not None and same and _same(before, settings.k, plan):
        exact = before.method == "exact" and plan.method != "exact"
        return draft, GraphReport(before, "it is exact" if exact else plan.reason, len(before.parts), 0)
    base = _base(draft, space, before, settings.k, plan)
    digest = _digest(draft, space, base, settings.k, plan)
    paths = [layout.graph(space, digest, layout.part_number(path)) for path in entry.parts]
    missing = [place for place, path in enumerate(paths) if not storage.exists(path)]
    old = len(base.parts) if base else 0
    _extend(reader, space, base, paths, [place for place in missing if place < old], plan, progress)
    fresh = [place for place in missing if place >= old]
    reason = _find(reader, space, paths, fresh, settings.k, plan, progress)
    recall, queries = 1.0, 0
    if plan.method != "exact":
        # Imported here, like the modules of candidates, since they load faiss, which an exact graph does not need.
        from lookalike_indexer.graph.recall import measured_recall

        recall, queries = measured_recall(reader, space, paths, settings.k, plan.metric, progress)
    graph = GraphEntry(
        space=space,
        k=settings.k,
        metric=plan.metric,
        method=plan.method,
        rows=draft.spaces[space].rows,
        deleted=draft.rows(draft.tombstones),
        neighbors=paths,
        parts=list(entry.parts),
        digest=digest,
        index=f"{space}/{plan.index.name}" if plan.index else "",
        recall=recall,
        recall_queries=queries,
    )
    draft = generations.complete(storage, dataclasses.replace(draft, graphs={**draft.graphs, space: graph}))
    return draft, GraphReport(graph, reason, len(paths) - len(missing), base.rows if base else 0)


@dataclass(frozen=True)
class _Plan:
    """The method that finds the neighbors: an index, principal components, or comparison with all images."""

    metric: Metric
    index: IndexEntry | None
    reason: str
    components: bool = False

    @property
    def method(self) -> Literal["exact", "index", "components"]:
        if self.index is not None:
            return "index"
        return "components" if self.components else "exact"


def _plan(reader: CollectionReader, space: str, settings: GraphSettings) -> _Plan:
    rows = reader.space(space)[1].rows
    there = reader.index_names(space)
    metric = settings.metric or metric_of(reader.manifest, space)
    if settings.exact:
        return _Plan(metric, None, "every image is compared with every other")
    if not settings.index and _COMPONENTS_FROM < rows <= _COMPONENTS_UP_TO and settings.k <= _COMPONENTS_K:
        return _Plan(metric, None, "principal components find the candidates", components=True)
    if not there and not settings.index:
        if rows > _FEW:
            fewer = f", or at most -k {_COMPONENTS_K}" if rows <= _COMPONENTS_UP_TO else ""
            raise NotBuiltError(
                f"The space {space} has {rows:,} images and no index; build one with: "
                f"{command('build', reader.storage.location, '--space', space)}; or give --exact{fewer}."
            )
        return _Plan(
            metric,
            None,
            "there is no index: every image is compared with every other",
        )
    index = reader.index(space, settings.index)
    if settings.metric not in (None, index.metric):
        raise UsageError(
            f"The index {space}/{index.name} compares by {index.metric}; give --exact to compare by {settings.metric}."
        )
    if _is_lossless(reader, index):
        return _Plan(index.metric, None, f"the index {index.name} is exact: every image is compared with every other")
    if not covers(reader.manifest, index):
        raise NotBuiltError(coverage_note(reader.manifest, index, reader.storage.location))
    return _Plan(index.metric, index, f"the index {index.name} ({index.factory}) finds the candidates")


def _is_lossless(reader: CollectionReader, index: IndexEntry) -> bool:
    """Return whether every search of an index is exact."""
    from lookalike_indexer.indexing.build import empty_index
    from lookalike_indexer.indexing.params import describe

    dim = reader.manifest.spaces[index.space].dim
    return describe(empty_index(index.factory, dim, index.metric, index.seed)).lossless


def _same(entry: GraphEntry, k: int, plan: _Plan) -> bool:
    """Return whether a graph of these embeddings satisfies the plan; an exact graph satisfies any method."""
    if (entry.k, entry.metric) != (k, plan.metric):
        return False
    index = f"{entry.space}/{plan.index.name}" if plan.index else ""
    return entry.method == "exact" or (entry.method, entry.index) == (plan.method, index)


def _is_of_all(draft: Manifest, entry: GraphEntry) -> bool:
    """Return whether nothing was deleted since: otherwise lists lack the neighbors that follow deleted ones."""
    return entry.deleted == draft.rows(draft.tombstones)


def _base(draft: Manifest, space: str, before: GraphEntry | None, k: int, plan: _Plan) -> GraphEntry | None:
    """Return the graph of the first parts of the space that the new one extends, if there is one."""
    if before is None or not _same(before, k, plan):
        return None
    if not _is_of_all(draft, before):
        return None
    entry = draft.spaces[space]
    if before.parts != entry.parts[: len(before.parts)]:
        return None
    if plan.method != "exact" and entry.rows - before.rows > _MUCH * entry.rows:
        return None
    return before


def _digest(draft: Manifest, space: str, base: GraphEntry | None, k: int, plan: _Plan) -> str:
    """Return the digest of a graph. For an exact one it does not depend on its history, nor do the bytes."""
    parts = [draft.files[path].sha256 for path in [*draft.spaces[space].parts, *draft.tombstones]]
    if plan.method == "exact" and (base is None or base.method == "exact"):
        return digest_of([k, plan.metric, parts])
    how = plan.index.digest if plan.index else plan.method if plan.components else ""
    return digest_of([k, plan.metric, parts, how, base.digest if base else ""])


def _extend(
    reader: CollectionReader,
    space: str,
    base: GraphEntry | None,
    paths: list[str],
    places: list[int],
    plan: _Plan,
    progress: Progress,
) -> None:
    """Write the parts that the base has: its lists, merged with nearer ones among the new images."""
    if base is None or not places:
        return
    new = reader.manifest.spaces[space].parts[len(base.parts) :]
    finder = Comparison(reader, new, plan.metric)
    with progress.stage(f"compare {space} with new images", None, "image") as bar:
        for group in groups(reader, space, places):
            found = finder(group, base.k, bar)
            for place, some in _parts(group):
                known, neighbors, distances = reader.graph_part(base.neighbors[place])
                fresh = Neighbors(found.ids[some], found.distances[some])
                list_of = merged(Neighbors(neighbors, distances), fresh, known)
                write_neighbors(reader.storage, paths[place], known, list_of)


def _find(
    reader: CollectionReader,
    space: str,
    paths: list[str],
    places: list[int],
    k: int,
    plan: _Plan,
    progress: Progress,
) -> str:
    """Write parts without a base: all images of the space may be neighbors. Return the method."""
    if not places:
        return plan.reason
    by_components = None
    if plan.components:
        from lookalike_indexer.graph.components import component_search

        by_components = component_search(reader, space, k, plan.metric, progress)
    reason = plan.reason
    if plan.components and by_components is None:
        reason = "principal components tell too little: every image is compared with every other"
    all_compared = plan.index is None and by_components is None
    with progress.stage(f"neighbors in {space}", None, "image") as bar:
        if all_compared and is_worth_it(reader, space, places, k):
            each_pair(reader, space, places, k, plan.metric, lambda *found: _write(reader, paths, *found), bar)
            return reason
        finder: Finder = Comparison(reader, reader.manifest.spaces[space].parts, plan.metric)
        if by_components is not None:
            finder = by_components
        elif plan.index is not None:
            from lookalike_indexer.graph.index_search import IndexSearch
            from lookalike_indexer.indexing.files import read_index

            finder = IndexSearch(reader, plan.index, read_index(reader, plan.index))
        for group in groups(reader, space, places, _TIMES if by_components is not None else 1):
            _write(reader, paths, group, finder(group, k, bar))
    return reason


def _write(reader: CollectionReader, paths: list[str], group: Group, found: Neighbors) -> None:
    """Write the parts of a group."""
    for place, some in _parts(group):
        lists = Neighbors(found.ids[some], found.distances[some])
        write_neighbors(reader.storage, paths[place], group.ids[some], lists)


def _parts(group: Group) -> list[tuple[int, slice]]:
    """Return the place of each part of a group, and its rows in the group."""
    starts = [0, *group.ends.tolist()]
    return [(place, slice(starts[at], starts[at + 1])) for at, place in enumerate(group.places)]
