"""Verification stage: all checks of `lookalike verify`, in order."""

from __future__ import annotations

from lookalike_indexer.collection import generations
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.progress import Progress
from lookalike_indexer.verification.changes import check_changes
from lookalike_indexer.verification.clusterings import check_clusterings
from lookalike_indexer.verification.embeddings import check_embeddings
from lookalike_indexer.verification.examination import Examination, VerifySettings
from lookalike_indexer.verification.files import check_files, readable_manifests
from lookalike_indexer.verification.indexes import check_indexes
from lookalike_indexer.verification.join import check_join
from lookalike_indexer.verification.report import Check, Report
from lookalike_indexer.verification.tables import check_tables
from lookalike_indexer.verification.uploaded_images import check_uploaded_images

# Each check, with the name of what it reads.
_CHECKS = (
    ("tables", check_tables),
    ("listing and ids", check_join),
    ("uploaded images", check_uploaded_images),
    ("clusterings", check_clusterings),
    ("indexes", check_indexes),
    ("embeddings and their images", check_embeddings),
    ("changes since the generation", check_changes),
)


def run_verify(storage: Storage, settings: VerifySettings, progress: Progress) -> Report:
    """Check the files of all generations, and the content of the newest one.

    Changes nothing. Damages are in the report. Raise NotFoundError if the collection does not exist.
    """
    if not generations.numbers(storage):
        raise NotFoundError(f"{storage.location} holds no collection.")
    manifests, unreadable = readable_manifests(storage)
    checks = [Check("manifests", len(manifests) + len(unreadable), "generations")]
    if not manifests:
        return Report(0, checks, unreadable)
    progress.announce(f"Verifying files (1 of {len(_CHECKS) + 1}).")
    files, damages = check_files(storage, manifests, progress)
    # Include deleted images: their rows must be valid as well, as long as they exist.
    reader = CollectionReader.open(storage.location, manifests[-1].generation).whole
    examination = Examination(reader, settings, progress, [*checks, files], [*unreadable, *damages])
    for number, (name, check) in enumerate(_CHECKS, 2):
        progress.announce(f"Verifying {name} ({number} of {len(_CHECKS) + 1}).")
        check(examination)
    return Report(reader.manifest.generation, examination.checks, examination.damages)
