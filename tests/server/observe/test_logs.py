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


def test_the_log_of_a_server_does_not_tell_of_libraries_that_faiss_looked_for():
    done = subprocess.run([sys.executable, "-c", CONFIGURED], capture_output=True, text=True, timeout=240, check=True)
    assert "INFO lookalike_server: started" in done.stderr
    assert "faiss" not in done.stderr
