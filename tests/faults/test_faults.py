"""A short run of the harness: after each fault the collection opens, is unchanged, and can be completed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.source import NAMES

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_faults_lose_no_published_data_and_the_next_run_completes():
    command = [sys.executable, "-m", "tests.faults", "--count", "32", "--seed", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1100, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["faults"], figures["broken"]) == (32, 0)
    assert figures["killed"] >= 1
    assert figures["refused"] >= 8
    assert len(figures["scenarios"].keys() - NAMES.keys()) == 8
    assert figures["kinds"]["the source changes"]["faults"] >= 1
    assert len(figures["kinds"]) >= 12


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hung_worker_is_reported_and_replaced_without_affecting_others():
    command = [sys.executable, "-m", "tests.faults", "--kind", "hung child", "--kind", "hung device thread"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    hangs = [hang for line in _json_lists(done.stdout) for hang in line]
    assert [hang["kind"] for hang in hangs] == ["hung child", "hung device thread"]
    assert [hang["problems"] for hang in hangs] == [[], []]
    assert min(hang["others_asked"] for hang in hangs) > 10
    assert max(hang["others_failed"] for hang in hangs) <= 1


def _json_lists(text: str) -> list[list[dict]]:
    """Yield the JSON lists in a text."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        at = len(text) - len(text[at:].lstrip())
    return found
