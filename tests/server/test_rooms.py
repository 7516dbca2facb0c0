"""What it costs to import a room."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["lookalike_server.common.settings", "lookalike_server.commands.cli"])
def test_settings_load_neither_faiss_nor_torch(module):
    program = f"import sys, {module}; print([name for name in ('faiss', 'torch') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
