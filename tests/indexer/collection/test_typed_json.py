"""JSON types are registered before a second thread exists: msgspec crashes if two threads meet a new type."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from lookalike_indexer.collection.typed_json import TypedJson

ROOT = Path(__file__).parents[3]


def test_it_decodes_its_type_and_rejects_others():
    numbers = TypedJson(dict[str, int])
    assert numbers.decode(b'{"a": 1}') == numbers.convert({"a": 1}) == {"a": 1}
    with pytest.raises(msgspec.MsgspecError):
        numbers.decode(b'{"a": "b"}')


@pytest.mark.own_process
def test_type_of_a_manifest_is_known_once_its_module_is_imported():
    program = (
        "from lookalike_indexer.collection.manifest import Manifest, SpaceEntry\n"
        "assert not hasattr(Manifest, '__msgspec_cache__')\n"
        "import lookalike_indexer.collection.encoding\n"
        "assert hasattr(Manifest, '__msgspec_cache__') and hasattr(SpaceEntry, '__msgspec_cache__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_every_decoded_type_is_known_to_msgspec():
    found = []
    for package in ("indexer", "server", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name == "typed_json.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                typed = called == "msgspec.convert" or (
                    called.startswith("msgspec.") and any(keyword.arg == "type" for keyword in node.keywords)
                )
                if typed:
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []
