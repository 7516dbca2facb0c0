"""Verdicts on pip-audit's reports, which are fixed here: nothing is queried."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_dependencies.py"
CI = ROOT / ".ci" / "run"
GOOD = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3", "4"]}, {"id": "CVE-2"}]}
STUCK = {"name": "d", "version": "5", "vulns": [{"id": "CVE-3", "fix_versions": []}]}
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
        ([GOOD, GOOD], 0, "pip-audit: none of 2 pinned releases known to be weak."),
        ([SKIPPED, SKIPPED], 0, "pip-audit: NOT CHECKED, none of 2 pinned releases could be looked up."),
        ([], 0, "pip-audit: NOT CHECKED, none of 0 pinned releases could be looked up."),
        ([GOOD, SKIPPED], 0, "pip-audit: none of 1 pinned releases known to be weak; NOT CHECKED: c."),
        (
            [GOOD, WEAK, STUCK, SKIPPED],
            1,
            "pip-audit: 2 of 3 pinned releases known to be weak, 1 of them mended by a later one; NOT CHECKED: c.",
        ),
        ([STUCK], 0, "pip-audit: 1 of 1 pinned releases known to be weak, none of them mended by a later one."),
    ],
)
def test_only_looked_up_packages_count_as_checked(script, dependencies, status, last) -> None:
    code, lines = script.verdict(json.dumps({"dependencies": dependencies}), "No known vulnerabilities found")
    assert (code, lines[-1]) == (status, last)


def test_weak_releases_are_named(script) -> None:
    lines = script.verdict(json.dumps({"dependencies": [WEAK, STUCK]}), "")[1]
    assert lines[:2] == ["b 2: CVE-1 (mended in 3, 4), CVE-2 (not mended)", "d 5: CVE-3 (not mended)"]


@pytest.mark.parametrize("report", ["", "No known vulnerabilities found", "[]", "{}"])
def test_no_report_is_no_pass(script, report) -> None:
    code, lines = script.verdict(report, "warning\nConnectionError: unreachable\n")
    assert code == 0
    assert "NOT CHECKED" in lines[-1]
    assert "unreachable" in lines[-1]


def test_no_answer_in_time_is_no_pass_and_no_failure(script) -> None:
    code, lines = script.asked([sys.executable, "-c", "import time; time.sleep(600)"], 0.2)
    assert (code, lines) == (0, ["pip-audit: NOT CHECKED, it had no answer within 0.2 s."])
    report = json.dumps({"dependencies": [WEAK]})
    assert script.asked([sys.executable, "-c", f"print({report!r})"], 60)[0] == 1


def test_ci_audits_only_if_allowed_and_reports_otherwise(tmp_path: Path) -> None:
    """Run with a `make` that records its arguments."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "make $*"\n[ "$1" != audit ] || exit "${AUDIT_ENDS_WITH:-0}"\n')
    make.chmod(0o755)
    # With a chromium, so that nothing is installed.
    (tmp_path / "chromium").symlink_to("/bin/true")

    def ci(**environment: str) -> tuple[int, list[str]]:
        clean = {name: value for name, value in os.environ.items() if name != "LOOKALIKE_AUDIT"}
        path = f"{tmp_path}{os.pathsep}{clean['PATH']}"
        done = subprocess.run(
            [CI], env={**clean, "PATH": path, **environment}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout.splitlines()

    code, lines = ci()
    assert (code, lines[-1]) == (0, "make test")
    assert "make audit" not in lines
    assert "NOT CHECKED" in lines[0]
    assert ci(LOOKALIKE_AUDIT="1") == (0, ["make audit", "make test"])
    code, lines = ci(LOOKALIKE_AUDIT="1", AUDIT_ENDS_WITH="1")
    assert (code, lines) == (1, ["make audit"])
