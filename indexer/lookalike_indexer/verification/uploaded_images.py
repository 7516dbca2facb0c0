"""Check that uploaded images exist and are unchanged."""

from __future__ import annotations

from pathlib import PurePosixPath

from lookalike_indexer.collection import uploaded_images
from lookalike_indexer.verification.examination import Examination


def check_uploaded_images(examination: Examination) -> None:
    """Hash each uploaded image in the images table; do nothing if there is none."""
    storage = examination.reader.storage
    tables = [path for path in examination.reader.manifest.images if examination.intact([path])]
    named = sorted(uploaded_images.named_by(storage, tables))
    if not named:
        return
    with examination.progress.stage("uploaded images", len(named), "image") as bar:
        for path in named:
            if not storage.exists(path):
                examination.damaged(path, "is missing")
            elif storage.digest(path) != PurePosixPath(path).name:
                examination.damaged(path, "is not what was written: its SHA-256 is not its name")
            bar.advance(1)
    examination.checked("uploaded images", len(named), "images")
