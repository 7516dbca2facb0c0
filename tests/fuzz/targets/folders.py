"""Temporary folders of the targets, removed at exit."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def own_folder(name: str) -> Path:
    """Create a folder that this process removes at exit."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
