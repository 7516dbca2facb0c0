"""Folders of the targets, which go when the process ends."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def own_folder(name: str) -> Path:
    """A new folder that this process removes at its end."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
