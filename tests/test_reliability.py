"""docs/reliability-evidence.md names existing tests, at least one for every promise of docs/reliability.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROMISES = (ROOT / "docs" / "reliability.md").read_text("utf-8")
PAGE = (ROOT / "docs" / "reliability-evidence.md").read_text("utf-8")
PATH = re.compile(r"\btests/[\w/.-]*\w")
NAME = re.compile(r"`(test_\w+|Test\w+)`")
# Sections whose lists are not promises.
NO_PROMISES = {"Verify", "Known limits"}


def promises() -> Iterator[str]:
    """Return the rows of the tables whose first column is the promise."""
    rows: list[str] = []
    for line in [*PAGE.splitlines(), ""]:
        if line.startswith("|"):
            rows.append(line)
            continue
        if rows and rows[0].startswith("| promise |"):
            yield from rows[2:]
        rows = []


def tables(page: str) -> Iterator[list[str]]:
    """Return the rows of each table, header first."""
    for block in re.split(r"\n(?!\|)", page):
        rows = [row for row in block.splitlines() if row.startswith("|")]
        if rows:
            yield rows


def defined(file: Path) -> set[str]:
    """Return the tests of a file, and their classes."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, kinds)}


def test_every_table_of_promises_is_looked_at() -> None:
    assert len(list(promises())) >= 40


def test_every_row_has_a_heading() -> None:
    orphans = [rows[0] for page in (PROMISES, PAGE) for rows in tables(page) if not re.match(r"\|[-:| ]+\|$", rows[1])]
    assert orphans == []


@pytest.mark.parametrize("row", list(promises()), ids=lambda row: row.split("|")[1].strip()[:60])
def test_every_promise_names_an_existing_test(row: str) -> None:
    files = [ROOT / path for path in PATH.findall(row) if path.endswith(".py")]
    assert files, "no test is named"
    named = set(NAME.findall(row))
    assert named <= set().union(*map(defined, files))
    for file in files:
        assert any(name.startswith("test_") for name in defined(file)), f"{file.name} tests nothing"


def test_every_path_and_test_named_on_the_page_exists() -> None:
    assert [path for path in PATH.findall(PAGE) if not (ROOT / path).exists()] == []
    everywhere = set().union(*(defined(file) for file in (ROOT / "tests").rglob("test_*.py")))
    assert set(NAME.findall(PAGE)) <= everywhere


def test_both_pages_have_the_same_promises() -> None:
    held = [row.split("|")[1].strip() + "." for row in promises()]
    # Each section has its promises in its first list; a section of several groups has a heading for each.
    listed = []
    for section in re.split(r"^##+ ", PROMISES, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        if title not in NO_PROMISES:
            first = ("\n" + text).partition("\n\n- ")[2]
            listed += [" ".join(promise.split()) for promise in first.partition("\n\n")[0].split("\n- ") if promise]
    assert listed == held
