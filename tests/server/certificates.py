"""Certificates for servers under test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Pair:
    cert: Path
    key: Path

    def put(self, folder: Path) -> Pair:
        """Replace the certificate in a folder, as a renewal does: each file atomically."""
        there = Pair(folder / "cert.pem", folder / "key.pem")
        for source, target in ((self.cert, there.cert), (self.key, there.key)):
            shutil.copy(source, f"{target}.new")
            os.replace(f"{target}.new", target)
        return there


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """Self-signed certificates for localhost, with a given name."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str) -> Pair:
        pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        if not pair.cert.exists():
            command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                       "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost",
                       "-keyout", str(pair.key), "-out", str(pair.cert)]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
        return pair

    return make
