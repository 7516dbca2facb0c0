"""Imports of the server's packages: light ones do not load heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Modules of a front, and of its supervisor.
FRONT = [
    "lookalike_server.fronts.supervisor",
    "lookalike_server.fronts.engine_link, lookalike_server.observe.observatory, lookalike_server.transport.grpc_server",
]


@pytest.mark.parametrize("modules", ["lookalike_server.common.settings", "lookalike_server.commands.cli", *FRONT])
def test_settings_and_fronts_load_neither_faiss_nor_torch(modules):
    program = f"import sys, {modules}; print([name for name in ('faiss', 'torch') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_server_start_loads_only_what_a_search_needs():
    needless = ("torch", "sklearn", "PIL", "pebble", "pathspec", "lookalike_indexer.upkeep")
    program = f"import sys, lookalike_server.app; print([name for name in {needless} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
