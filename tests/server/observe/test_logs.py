"""Data that a server's log leaves out."""

import subprocess
import sys

CONFIGURED = """
import logging
from lookalike_server.observe import logs
logs.configure("text")
logging.getLogger("lookalike_server").info("started")
import faiss
"""


def test_server_log_omits_library_lookups_of_faiss():
    done = subprocess.run([sys.executable, "-c", CONFIGURED], capture_output=True, text=True, timeout=240, check=True)
    assert "INFO lookalike_server: started" in done.stderr
    assert "faiss" not in done.stderr
