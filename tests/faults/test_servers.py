"""Small runs of the kinds of fault at a server. The commands measure figures, on an idle machine."""

from __future__ import annotations

from pathlib import Path

from tests.faults import greedy, unfinished, writer


def test_large_callers_cause_no_rejection_of_single_calls(tmp_path: Path) -> None:
    phases = greedy.measure(tmp_path / "collection", rows=5_000, dim=128, index="ivf-flat", seconds=2)
    assert [phase.refused for phase in phases] == [0, 0, 0]
    for phase in phases[1:]:
        assert phase.calls >= 50
        assert phase.greedy["answered"] > 0, "the greedy callers have their turns, too"


def test_endless_messages_take_bounded_memory_and_fail_no_other_call(tmp_path: Path) -> None:
    found = unfinished.measure(tmp_path / "collection", calls=24, size=62 << 20, seconds=4)
    assert found["lone_failed"] == 0
    assert found["lone_calls"] > 10
    assert found["highest_mib"] - found["before_mib"] < 420


def test_damaged_log_is_served_up_to_the_damage(tmp_path: Path) -> None:
    assert writer.damaged_logs(tmp_path, 60, seed=5) == []
