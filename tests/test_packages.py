"""The docstring of each package lists its modules, so that a reader finds the file for a change."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("indexer/lookalike_indexer", "server/lookalike_server")
# Smaller packages need no list.
FEWEST = 4


def test_docstring_of_a_package_names_each_of_its_modules():
    missing = []
    for source in SOURCES:
        for init in sorted((ROOT / source).rglob("__init__.py")):
            modules = {file.name for file in init.parent.glob("*.py")} - {"__init__.py", "__main__.py"}
            named = set(re.findall(r"\w+\.py", ast.get_docstring(ast.parse(init.read_text("utf-8"))) or ""))
            if len(modules) >= FEWEST:
                missing += [f"{init.relative_to(ROOT)}: {name}" for name in sorted(modules ^ named)]
    assert missing == []
