"""`make lint` rejects a change of the contract that would break the clients of a release."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTO = Path(__file__).resolve().parents[2] / "proto"
BUF = shutil.which("buf", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(BUF is None, reason="needs buf: pip install 'lookalike[dev]'")


def breaking(proto: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), "breaking", str(proto), "--against", str(PROTO / "released.binpb")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_contract_serves_the_clients_of_the_release() -> None:
    done = breaking(PROTO)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("string collection = 15;", "string collection = 16;", '"collection"'),
        ("string collection = 15;", "int64 collection = 15;", "changed type"),
        ("rpc ListCollections(", "rpc ListEveryCollection(", '"ListCollections"'),
    ],
)
def test_breaking_change_is_rejected(tmp_path: Path, was: str, becomes: str, said: str) -> None:
    shutil.copytree(PROTO, tmp_path / "proto")
    file = tmp_path / "proto/lookalike/v1/server.proto"
    text = file.read_text()
    assert was in text
    file.write_text(text.replace(was, becomes, 1))
    done = breaking(tmp_path / "proto")
    assert done.returncode != 0
    assert said in done.stdout


def test_added_message_is_not_a_breaking_change(tmp_path: Path) -> None:
    shutil.copytree(PROTO, tmp_path / "proto")
    file = tmp_path / "proto/lookalike/v1/server.proto"
    file.write_text(file.read_text() + "\nmessage Added {\n  string name = 1;\n}\n")
    assert breaking(tmp_path / "proto").returncode == 0
