"""What is said of pip-audit's report. Nothing is asked here: the reports are written down."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_dependencies.py"
GOOD = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
SKIPPED = {"name": "c", "skip_reason": "could not be audited"}


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("check_dependencies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("dependencies", "status", "last"),
    [
        ([GOOD, GOOD], 0, "pip-audit: none of 2 pinned releases has a known weakness."),
        ([SKIPPED, SKIPPED], 0, "pip-audit: NOT CHECKED, none of 2 pinned releases could be looked up."),
        ([], 0, "pip-audit: NOT CHECKED, none of 0 pinned releases could be looked up."),
        ([GOOD, SKIPPED], 0, "pip-audit: 1 of 2 pinned releases have no known weakness; NOT CHECKED: c."),
        ([GOOD, WEAK, SKIPPED], 1, "pip-audit: 1 of 2 pinned releases have known weaknesses."),
    ],
)
def test_only_what_was_looked_up_counts_as_checked(script, dependencies, status, last) -> None:
    code, lines = script.verdict(json.dumps({"dependencies": dependencies}), "No known vulnerabilities found")
    assert (code, lines[-1]) == (status, last)


def test_weak_releases_are_named(script) -> None:
    assert script.verdict(json.dumps({"dependencies": [WEAK]}), "")[1][0] == "b 2: CVE-1, CVE-2"


@pytest.mark.parametrize("report", ["", "No known vulnerabilities found", "[]", "{}"])
def test_no_report_is_no_pass(script, report) -> None:
    code, lines = script.verdict(report, "warning\nConnectionError: unreachable\n")
    assert code == 0
    assert "NOT CHECKED" in lines[-1]
    assert "unreachable" in lines[-1]
