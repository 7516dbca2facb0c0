"""Check of the change log of a served collection."""

from __future__ import annotations

from lookalike_indexer.collection import changelog
from lookalike_indexer.verification.examination import Examination


def check_changes(examination: Examination) -> None:
    """Read every record of the log and compare its checksum; do nothing if there is no log."""
    storage = examination.reader.storage
    names = changelog.names(storage)
    if not names:
        return
    held = changelog.examine(storage)
    unfinished = f"{held.unfinished_bytes} bytes at its end were never acknowledged" if held.unfinished_bytes else ""
    examination.checked("changes", held.records, "records", unfinished)
    if held.damaged:
        examination.damaged(held.damaged, f"cannot be read after change {held.last} ({held.damaged_bytes} bytes)")
