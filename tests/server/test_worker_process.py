"""A worker process: its end, its hangs, and their effect on callers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.server.roles import obeying

from lookalike_indexer.errors import DeviceError
from lookalike_server.processes.worker_process import HungError, WorkerProcess, WorkerSpec


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """While this file exists, no process opens."""
    return tmp_path / "wait"


@pytest.fixture
def child(flag: Path, told: list[tuple[str, str]]) -> Iterator[WorkerProcess]:
    spec = WorkerSpec("tester", "obeys", obeying, str(flag), silence_s=2.0, opening_s=20.0)
    made = WorkerProcess(spec, lambda what, sentence: told.append((what, sentence)))
    yield made
    made.close()


def test_one_process_answers_all_questions(child: WorkerProcess, told: list[tuple[str, str]]) -> None:
    first = child.request("who", 60)
    assert child.request("who", 60) == first != os.getpid()
    assert child.alive
    assert not child.hung
    assert told == []


@pytest.mark.parametrize(
    ("command", "limit_s", "late", "why"),
    [("stop", 60, False, "sent no heartbeat for 2 s"), ("hang", 1, True, "took longer than 1 s")],
)
def test_hung_network_is_killed_and_another_answers(
    child: WorkerProcess, told: list[tuple[str, str]], command: str, limit_s: float, late: bool, why: str
) -> None:
    first = child.request("who", 60)
    with pytest.raises(
        HungError, match=f"The process that obeys {why} and was killed; the server starts another one"
    ) as caught:
        child.request(command, limit_s)
    assert caught.value.late is late
    assert told == [("tester", f"The process that obeys {why}; the server replaces it.")]
    assert not psutil.pid_exists(first)
    assert child.request("who", 60) != first


def test_request_larger_than_a_pipe_does_not_hang_the_caller(child: WorkerProcess) -> None:
    first = child.request("who", 60)
    psutil.Process(first).suspend()
    with pytest.raises(HungError):
        child.request("x" * 10_000_000, 60)


def test_process_that_ended_while_idle_is_replaced_without_an_error(child: WorkerProcess) -> None:
    first = child.request("who", 60)
    process = psutil.Process(first)
    process.kill()
    # Reaped by a check whether it is alive.
    while child.alive:
        pass
    assert child.request("who", 60) != first


def test_process_that_ends_during_a_call_is_no_hang(child: WorkerProcess, told: list[tuple[str, str]]) -> None:
    with pytest.raises(DeviceError, match="The process that obeys ended; the server starts another one") as caught:
        child.request("end", 60)
    assert not isinstance(caught.value, HungError)
    assert told == []


def test_process_that_does_not_open_is_killed(child: WorkerProcess, flag: Path) -> None:
    flag.touch()
    with pytest.raises(HungError, match="took longer than 20 s"):
        child.request("who", 60)
    flag.unlink()
    assert child.request("who", 60) > 0
