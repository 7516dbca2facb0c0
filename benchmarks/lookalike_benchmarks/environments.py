"""A virtual environment for each peer, created on first use and kept."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from lookalike_benchmarks.engines.catalog import Peer

_INSTALL_S = 600


class NotInstalledError(Exception):
    """A peer cannot be installed here; the message is the reason."""


def python_of(peer: Peer, cache: Path) -> Path:
    """Return the interpreter for a peer; NotInstalledError if there is none."""
    if not peer.packages:
        return Path(sys.executable)
    folder = (cache / peer.module).absolute()
    python, installed = folder / "bin" / "python", folder / ".installed"
    if installed.exists() and installed.read_text() == " ".join(peer.packages):
        return python
    venv.create(folder, clear=True, with_pip=False, symlinks=True)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *peer.packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"pip did not install it within {_INSTALL_S} s") from error
    if done.returncode:
        raise NotInstalledError(_reason(done.stderr))
    installed.write_text(" ".join(peer.packages))
    return python


def _reason(errors: str) -> str:
    """Return pip's last error line."""
    said = [line.strip().removeprefix("ERROR: ") for line in errors.splitlines() if "ERROR:" in line]
    return f"pip: {said[-1]}" if said else "pip failed without a reason"
