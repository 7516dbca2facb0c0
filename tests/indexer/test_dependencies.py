"""Each extra of the distribution includes all imports of its code."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
# The extra `experiments` has the packages of analyses only. Commands import them when they run.
ANALYSES = {"attribution", "charts", "cli", "experiments", "report"}
# Models, formats and sources that are imported only if a user names them.
OPTIONAL = ("clip", "heic", "object", "ray", "timm", "watch")


def names_of(extra: str) -> set[str]:
    """Return the distributions that an extra names, with those of the extras that it includes."""
    found = set()
    for line in EXTRAS[extra]:
        own = re.match(r"lookalike\[(.+)\]", line)
        if own:
            found |= {name for each in own[1].split(",") for name in names_of(each)}
        else:
            found.add(re.split(r"[^\w.-]", line, maxsplit=1)[0].lower().replace("_", "-"))
    return found


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}


def test_indexer_brings_what_indexing_imports():
    package = ROOT / "indexer" / "lookalike_indexer"
    files = [file for file in package.rglob("*.py") if file.relative_to(package).parts[0] not in ANALYSES]
    modules = {name for file in files for name in imported(file)} - set(sys.stdlib_module_names)
    modules -= {name for name in modules if name.startswith("lookalike")}
    distributions = packages_distributions()
    there = names_of("indexer") | {"numpy", *(name for extra in OPTIONAL for name in names_of(extra))}
    lacking = {
        module: names
        for module in sorted(modules)
        if not there & (names := {each.lower().replace("_", "-") for each in distributions.get(module, [module])})
    }
    assert {"torch", "faiss", "pyarrow"} <= modules
    assert lacking == {}
