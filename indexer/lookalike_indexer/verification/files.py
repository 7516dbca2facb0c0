"""Check of every file of every generation: existence, length and digest."""

from __future__ import annotations

import msgspec

from lookalike_indexer.collection import generations, layout
from lookalike_indexer.collection.manifest import FileEntry, IndexEntry, Manifest
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError
from lookalike_indexer.indexing.files import RECORD_JSON
from lookalike_indexer.progress import Progress
from lookalike_indexer.verification.remedies import mend, without_old_generations
from lookalike_indexer.verification.report import Check, Damage


def readable_manifests(storage: Storage) -> tuple[list[Manifest], list[Damage]]:
    """Return the manifests that can be read, oldest first, and the damages of the others."""
    found, damages = [], []
    for number in generations.numbers(storage):
        try:
            found.append(generations.read(storage, number))
        except IndexerError as error:
            path = layout.generation(number)
            advice = "remove it to return to the previous generation, then run the last command again"
            damages.append(Damage(path, _without_path(str(error), storage, path), advice))
    return found, damages


def check_files(storage: Storage, manifests: list[Manifest], progress: Progress) -> tuple[Check, list[Damage]]:
    """Hash every file that a generation refers to, once."""
    damages: dict[str, Damage] = {}
    newest = manifests[-1] if manifests else None
    wanted: dict[tuple[str, str], tuple[FileEntry, Manifest]] = {}
    for manifest in manifests:
        wanted |= {(path, entry.sha256): (entry, manifest) for path, entry in manifest.files.items()}
    total = sum(entry.bytes for entry, _ in wanted.values())
    with progress.stage("hash", total, "B") as bar:
        for (path, _), (entry, manifest) in sorted(wanted.items(), key=lambda item: item[0]):
            what = _difference(storage, path, entry)
            if what:
                is_old = newest is not None and path not in newest.files
                advice = without_old_generations(storage) if is_old else mend(manifest, storage, path)
                damages.setdefault(path, Damage(path, what, advice))
            bar.advance(entry.bytes)
    records: dict[str, list[tuple[IndexEntry, Manifest]]] = {}
    for manifest in manifests:
        for index in manifest.indexes.values():
            records.setdefault(layout.index_record(index.path), []).append((index, manifest))
    for path, told in records.items():
        # If the recall of an index was measured again, generations have different values.
        if storage.exists(path) and not any(_record_fits(storage, path, index, manifest) for index, manifest in told):
            what = "does not say of its index what the manifest says"
            damages.setdefault(path, Damage(path, what, mend(told[-1][1], storage, path)))
    checked = {path for path, _ in wanted}
    return Check("files", len(checked), "files", f"{total:,} bytes"), list(damages.values())


def _difference(storage: Storage, path: str, entry: FileEntry) -> str:
    """Return the problem with a file, or ""."""
    try:
        if not storage.exists(path):
            return "is missing"
        size = storage.size(path)
        if size != entry.bytes:
            return f"has {size:,} bytes and the manifest says {entry.bytes:,}"
        return "" if storage.digest(path) == entry.sha256 else "is not what was written: its SHA-256 differs"
    except IndexerError as error:
        return _without_path(str(error), storage, path)


def _record_fits(storage: Storage, path: str, index: IndexEntry, manifest: Manifest) -> bool:
    try:
        record = RECORD_JSON.decode(storage.read(path))
    except (IndexerError, msgspec.DecodeError):
        return False
    canonical = msgspec.json.encode(record, order="sorted") == storage.read(path)
    if record.sha256 != manifest.files[index.path].sha256:
        return False
    # An index with increments may have the earlier measurements.
    same = (record.recall, record.recall_queries) == (index.recall, index.recall_queries) or bool(index.increments)
    return canonical and same


def _without_path(sentence: str, storage: Storage, path: str) -> str:
    return sentence.removeprefix(f"{storage.shown(path)} ").rstrip(".")
