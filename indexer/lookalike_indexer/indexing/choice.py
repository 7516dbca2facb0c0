"""Choice of the index type by trial: candidates are built over a sample, and the fastest with enough recall is taken.

The times over the sample are scaled to the collection, see search_time_model.py. They vary from run to run, so a choice
is recorded once and then kept: the same command makes the same index again.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import faiss
import msgspec

from lookalike_indexer.collection import layout
from lookalike_indexer.collection.manifest import Candidate
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.settings_digest import settings_digest
from lookalike_indexer.collection.typed_json import TypedJson
from lookalike_indexer.indexing.recipes import COMPONENTS, RECALL_QUERIES, Recipe, candidates, choose, worth_trying
from lookalike_indexer.indexing.search_time_model import slowdown
from lookalike_indexer.indexing.settings import BuildSettings
from lookalike_indexer.indexing.trial import Trial
from lookalike_indexer.progress import Progress
from lookalike_indexer.vectors.sample import choose_rows, read_rows

# Enough to judge lists and graphs, and tried in a minute or two.
_SAMPLE = 30_000
_TAKEN = "taken: "


@dataclass(frozen=True)
class Choice:
    """A recipe, and the candidates tried on `sampled` images before the choice; none if no trial was needed."""

    recipe: Recipe
    candidates: list[Candidate] = field(default_factory=list)
    sampled: int = 0
    digest: str = ""


def pick(reader: CollectionReader, space: str, settings: BuildSettings, progress: Progress) -> Choice:
    """Return the index to build over a space, after trials if the settings leave the type open.

    Trials run on CPUs: if there are GPUs, the type is one that they support. Raise UsageError for settings that
    contradict each other. Raise IndexerError if an embedding is not finite.
    """
    entry = reader.manifest.spaces[space]
    if not worth_trying(entry.rows, settings) or settings.gpus or faiss.get_num_gpus():
        return Choice(choose(entry.rows, entry.dim, settings))
    digest = _digest(reader, space, settings)
    tried, sampled = _known(reader, space, digest) or _try(reader, space, settings, digest, progress)
    best = next(candidate for candidate in tried if candidate.verdict.startswith(_TAKEN))
    recipe = choose(entry.rows, entry.dim, dataclasses.replace(settings, index=best.index, max_memory=None))
    reason = f"{best.verdict}, of {len(tried)} kinds tried on {sampled} images"
    return Choice(dataclasses.replace(recipe, reason=f"{reason}; {recipe.reason}"), tried, sampled, digest)


class _Record(msgspec.Struct, frozen=True):
    candidates: list[Candidate]
    sampled: int


_RECORD_JSON = TypedJson(_Record)


def _digest(reader: CollectionReader, space: str, settings: BuildSettings) -> str:
    """Return the digest of a trial on the same embeddings and settings, even if `compact` merged the parts, or a new
    one.
    """
    asked = (settings.target_recall, settings.max_memory, settings.train_size, settings.metric, settings.seed)
    for entry in reader.manifest.indexes.values():
        tried = (entry.target_recall, entry.max_memory, entry.asked_train_size, entry.metric, entry.seed)
        scaled = all(candidate.expected_queries_per_second for candidate in entry.candidates)
        same = entry.space == space and entry.parts == reader.manifest.spaces[space].parts
        if entry.choice and same and scaled and tried == asked:
            return entry.choice
    decisive = {
        "target_recall": settings.target_recall,
        "max_memory": settings.max_memory,
        "train_size": settings.train_size,
        "times": "scaled to all images",
        "components": COMPONENTS,
        "metric": settings.metric,
        "seed": settings.seed,
    }
    return settings_digest(reader.manifest, space, decisive)


def _known(reader: CollectionReader, space: str, digest: str) -> tuple[list[Candidate], int] | None:
    """Return the trial of the last generation, or of a killed run; None if there is none."""
    for entry in reader.manifest.indexes.values():
        if entry.space == space and entry.choice == digest:
            return entry.candidates, entry.sampled
    path = layout.choice(space, digest)
    if not reader.storage.exists(path):
        return None
    try:
        record = _RECORD_JSON.decode(reader.storage.read(path))
    except msgspec.DecodeError:
        return None
    return record.candidates, record.sampled


def _try(
    reader: CollectionReader, space: str, settings: BuildSettings, digest: str, progress: Progress
) -> tuple[list[Candidate], int]:
    rows = reader.space(space)[1].rows
    picked = choose_rows(rows, min(rows, _SAMPLE + RECALL_QUERIES), settings.seed)
    vectors = read_rows(reader, space, picked, settings.metric, progress)
    trial = Trial(vectors[RECALL_QUERIES:], vectors[:RECALL_QUERIES], settings)
    tried: list[Candidate] = []
    with progress.stage("principal components", None, "component"):
        components = trial.components()
    kinds = candidates(rows, components)
    with progress.stage("try kinds of index", len(kinds), "kind") as bar:
        for kind in kinds:
            tried.append(_scaled(trial.candidate(kind), len(trial.vectors), rows, settings))
            bar.advance()
            bar.note(f"{kind}: recall {tried[-1].recall:.3f}, {tried[-1].queries_per_second:.0f} queries/s")
    judged = _judged(tried, rows, settings)
    with reader.storage.staged(layout.choice(space, digest)) as temporary:
        temporary.write_bytes(msgspec.json.encode(_Record(judged, len(trial.vectors)), order="sorted"))
    return judged, len(trial.vectors)


def _scaled(candidate: Candidate, sampled: int, rows: int, settings: BuildSettings) -> Candidate:
    """Return the candidate with the expected speed over all rows, see search_time_model.py."""
    kind = candidate.index
    over_sample, over_all = BuildSettings(index=kind), BuildSettings(index=kind, train_size=settings.train_size)
    longer = slowdown(kind, candidate.nprobe, over_sample, sampled, over_all, rows)
    return dataclasses.replace(candidate, expected_queries_per_second=candidate.queries_per_second / longer)


def _judged(tried: list[Candidate], rows: int, settings: BuildSettings) -> list[Candidate]:
    """Return the candidates with their verdicts; exactly one begins with "taken"."""
    room = settings.max_memory
    fits = [room is None or candidate.bytes_per_image * rows <= room for candidate in tried]
    # If none fits, the smallest is the closest.
    able = [c for c, fit in zip(tried, fits, strict=True) if fit] or [min(tried, key=lambda c: c.bytes_per_image)]
    reaching = [candidate for candidate in able if candidate.recall >= settings.target_recall]
    if reaching:
        best = max(reaching, key=lambda candidate: candidate.expected_queries_per_second)
        why = f"the fastest that reached a recall of {settings.target_recall:g}"
    else:
        best = max(able, key=lambda candidate: candidate.recall)
        why = f"none reached a recall of {settings.target_recall:g}, and this came closest"
    if not any(fits):
        why = "none fits in --max-memory, and this is the smallest"
    judged = []
    for candidate, fit in zip(tried, fits, strict=True):
        needed = f"{candidate.bytes_per_image * rows / 2**20:.0f} MiB"
        if candidate is best:
            verdict = f"{_TAKEN}{why}"
        elif not fit:
            verdict = f"needs {needed}"
        else:
            verdict = "slower" if candidate.recall >= settings.target_recall else "finds too little"
        judged.append(dataclasses.replace(candidate, verdict=verdict))
    return judged
