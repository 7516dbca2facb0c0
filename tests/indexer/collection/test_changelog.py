"""The log of changes: a damaged log has exactly the changes before the damage."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lookalike_indexer.collection import changelog
from lookalike_indexer.collection.changelog import Name, Tail
from lookalike_indexer.collection.storage import Storage


def segment(root: Path, name: Name, first: int, payloads: list[bytes]) -> Path:
    """Write a segment whose first record has the sequence `first`."""
    path = root / name.path
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [changelog.frame(first + place, payload) for place, payload in enumerate(payloads)]
    path.write_bytes(changelog.header(name.epoch, first) + b"".join(frames))
    return path


def held(root: Path, after: int = 0) -> list[tuple[int, bytes]]:
    return list(changelog.replay(Storage(root), after))


def payloads(count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(chance.randrange(0, 200)) for _ in range(count)]


def test_records_come_back_over_segments_and_epochs(tmp_path):
    wanted = payloads(30, 1)
    segment(tmp_path, Name(1, 1), 1, wanted[:10])
    segment(tmp_path, Name(1, 2), 11, wanted[10:12])
    segment(tmp_path, Name(2, 1), 13, [])
    segment(tmp_path, Name(3, 1), 13, wanted[12:])
    assert held(tmp_path) == list(enumerate(wanted, 1))
    assert held(tmp_path, after=12) == list(enumerate(wanted, 1))[12:]
    assert held(tmp_path, after=11) == list(enumerate(wanted, 1))[11:]
    assert changelog.examine(Storage(tmp_path)) == changelog.LogSummary(30, 30)


def test_later_segment_overrides_unacknowledged_records(tmp_path):
    segment(tmp_path, Name(1, 1), 1, [b"a", b"b", b"failed", b"failed"])
    segment(tmp_path, Name(1, 2), 3, [b"c"])
    segment(tmp_path, Name(2, 1), 2, [b"B", b"C", b"D"])
    assert held(tmp_path) == [(1, b"a"), (2, b"B"), (3, b"C"), (4, b"D")]
    assert changelog.examine(Storage(tmp_path)) == changelog.LogSummary(4, 4)


def test_records_after_a_gap_are_not_read(tmp_path):
    segment(tmp_path, Name(1, 1), 1, [b"a"])
    segment(tmp_path, Name(1, 2), 3, [b"c"])
    assert held(tmp_path) == [(1, b"a")]
    assert held(tmp_path, after=2) == [(3, b"c")]
    found = changelog.examine(Storage(tmp_path))
    assert (found.last, found.records, found.damaged) == (1, 1, Name(1, 2).path)
    assert found.damaged_bytes > 0


def test_segment_is_kept_until_all_its_changes_are_folded(tmp_path):
    storage = Storage(tmp_path)
    names = [Name(1, 1), Name(1, 2), Name(2, 1)]
    segment(tmp_path, names[0], 1, [b"a", b"b"])
    segment(tmp_path, names[1], 3, [b"c"])
    segment(tmp_path, names[2], 4, [])
    paths = [name.path for name in names]
    for folded, removable in ((0, 0), (1, 0), (2, 1), (3, 2), (9, 2)):
        assert changelog.removable(storage, folded) == paths[:removable]


def test_unfinished_record_is_no_damage(tmp_path):
    path = segment(tmp_path, Name(1, 1), 1, [b"a" * 50])
    with path.open("ab") as file:
        file.write(changelog.frame(2, b"b" * 50)[:40])
    assert changelog.examine(Storage(tmp_path)) == changelog.LogSummary(1, 1, unfinished_bytes=40)


@pytest.mark.parametrize("kind", ["torn", "flipped", "zeroed", "doubled"])
def test_damaged_segment_holds_exactly_what_is_before_the_damage(tmp_path, kind):
    wanted = payloads(20, 2)
    path = segment(tmp_path, Name(1, 1), 1, wanted)
    whole = path.read_bytes()
    ends = [record.end for record in changelog.records(path, changelog.HEADER.size, 1)]
    assert ends[-1] == len(whole)
    chance = random.Random(f"{kind}")
    for _ in range(300):
        at = chance.randrange(len(whole))
        data = bytearray(whole)
        if kind == "torn":
            del data[at:]
        elif kind == "flipped":
            data[at] ^= 1 << chance.randrange(8)
        elif kind == "zeroed":
            data[at:] = bytes(len(data) - at)
            # Zeros may be the original bytes.
            at = next((place for place in range(at, len(whole)) if whole[place]), len(whole))
        else:
            data[at:at] = data[max(0, at - 7) : at] or b"x"
            at = next((place for place in range(len(whole)) if data[place] != whole[place]), len(whole))
        path.write_bytes(data)
        before = [] if at < changelog.HEADER.size else list(enumerate(wanted, 1))[: sum(end <= at for end in ends)]
        assert held(tmp_path) == before, (kind, at)
        assert changelog.examine(Storage(tmp_path)).last == len(before)


def test_tail_follows_new_records_and_detects_overruled_ones(tmp_path):
    tail = Tail(Storage(tmp_path), 0)
    assert list(tail.read()) == []
    path = segment(tmp_path, Name(1, 1), 1, [b"a", b"b"])
    assert list(tail.read()) == [(1, b"a"), (2, b"b")]
    assert list(tail.read()) == []
    torn = changelog.frame(3, b"c" * 100)
    with path.open("ab") as file:
        file.write(torn[:50])
        file.flush()
        assert list(tail.read()) == []
        file.write(torn[50:])
    assert list(tail.read()) == [(3, b"c" * 100)]
    segment(tmp_path, Name(1, 2), 4, [b"d"])
    assert list(tail.read()) == [(4, b"d")]
    segment(tmp_path, Name(2, 1), 4, [b"other"])
    with pytest.raises(changelog.OverruledError):
        list(tail.read())
