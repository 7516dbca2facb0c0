"""The log of changes to a served collection: segments of records, each with its number and checksum.

    live/<epoch>-<number>.wal       epoch and number are six and four digits

A segment begins with a header: the magic, the epoch of its writer, and the
sequence of its first record. Records follow, each of them

    length (uint32) | CRC-32 (uint32) | sequence (uint64) | payload (length bytes)

little-endian; the checksum is that of the length, the sequence and the payload.
CRC-32 is that of zlib, which finds every burst of up to 32 bits as CRC-32C does
and needs no further package. A payload is a message of the server, which is
opaque here.

Sequences go on by one, within a segment and from one segment to the next. A later
segment overrules an earlier one: records of the earlier one from its first
sequence on were never acknowledged. So what a log holds is the longest run of
records without a gap, and damage costs what is behind it.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import filelock

from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.errors import IndexerError

FOLDER = "live"
# Held by the one process that writes.
WRITER_LOCK = f"{FOLDER}/.writer-lock"
MAGIC = b"LOOKLIVE"
HEADER = struct.Struct("<8sQQI")
FRAME = struct.Struct("<IIQ")
# A record is one call's message; what says that it is longer is damage.
MOST_BYTES = 1 << 31
_NUMBERED = struct.Struct("<IQ")
_NAME = re.compile(r"(\d{6,})-(\d{4,})\.wal")


class Name(NamedTuple):
    """A segment's place in the order of all."""

    epoch: int
    number: int

    @property
    def path(self) -> str:
        """Relative to the collection's root."""
        return f"{FOLDER}/{self.epoch:06d}-{self.number:04d}.wal"


class Record(NamedTuple):
    """A record, and the offset behind it."""

    sequence: int
    payload: bytes
    end: int


@dataclass(frozen=True)
class Segment:
    """A segment with a sound header; its records begin at `start`."""

    name: Name
    first: int
    start: int = HEADER.size


def header(epoch: int, first: int) -> bytes:
    """The header of a segment whose first record has the sequence `first`."""
    return HEADER.pack(MAGIC, epoch, first, _header_checksum(epoch, first))


def frame(sequence: int, payload: bytes) -> bytes:
    """A record as it is written."""
    return FRAME.pack(len(payload), _checksum(sequence, payload), sequence) + payload


def names(storage: Storage) -> list[Name]:
    """The segments that there are, in order."""
    found = [match for name in storage.list(FOLDER) if (match := _NAME.fullmatch(name))]
    return sorted(Name(int(match[1]), int(match[2])) for match in found)


def opened(storage: Storage, name: Name) -> Segment | None:
    """A segment's header; None where it is not whole or not sound."""
    try:
        with storage.local(name.path).open("rb") as file:
            data = file.read(HEADER.size)
    except FileNotFoundError:
        return None
    if len(data) < HEADER.size:
        return None
    magic, epoch, first, checksum = HEADER.unpack(data)
    if magic != MAGIC or epoch != name.epoch or checksum != _header_checksum(epoch, first):
        return None
    return Segment(name, first)


def segments(storage: Storage) -> list[Segment]:
    """The segments with a sound header, in order."""
    return [one for name in names(storage) if (one := opened(storage, name)) is not None]


def records(path: Path, start: int, expected: int) -> Iterator[Record]:
    """The records of a segment from an offset on, of which the first has the sequence `expected`.

    Ends before the first that is torn, damaged, or has another sequence.
    """
    with path.open("rb") as file:
        file.seek(start)
        end = start
        while len(head := file.read(FRAME.size)) == FRAME.size:
            length, checksum, sequence = FRAME.unpack(head)
            if length > MOST_BYTES or sequence != expected:
                return
            payload = file.read(length)
            if len(payload) < length or _checksum(sequence, payload) != checksum:
                return
            end += FRAME.size + length
            expected += 1
            yield Record(sequence, payload, end)


@dataclass(frozen=True)
class Held:
    """What a log holds: its `last` sequence, 0 for none, and how many `records` there are.

    `damaged_bytes` behind it cannot be read, of the file `damaged` and those after it; "" where all can.
    `unfinished_bytes` at its end are those of a record that was not written to its end, and never acknowledged.
    """

    last: int
    records: int = 0
    damaged_bytes: int = 0
    damaged: str = ""
    unfinished_bytes: int = 0


class OverruledError(Exception):
    """Records that were read are not part of the log any more: whoever applied them begins anew."""


class Tail:
    """Reads a log from after a sequence on; each time what has come since."""

    def __init__(self, storage: Storage, after: int) -> None:
        self._storage = storage
        # Of the last record that was read.
        self.last = after
        self._segment: Name | None = None
        self._end = 0

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Yield the sequence and payload of each record that has come. OverruledError: one of those before is gone."""
        there = segments(self._storage)
        if self._segment is not None and any(one.name > self._segment and one.first <= self.last for one in there):
            raise OverruledError
        for segment, limit in _limited(there):
            if self._segment is not None and segment.name < self._segment:
                continue
            if limit is not None and limit <= self.last + 1 and segment.name != self._segment:
                continue
            # What is behind a gap is not held.
            if segment.first > self.last + 1:
                return
            yield from self._read(segment, limit)

    def _read(self, segment: Segment, limit: int | None) -> Iterator[tuple[int, bytes]]:
        known = segment.name == self._segment
        start = self._end if known else segment.start
        expected = self.last + 1 if known else segment.first
        for record in records(self._storage.local(segment.name.path), start, expected):
            if limit is not None and record.sequence >= limit:
                break
            if record.sequence > self.last:
                self._segment, self._end, self.last = segment.name, record.end, record.sequence
                yield record.sequence, record.payload


def replay(storage: Storage, after: int) -> Iterator[tuple[int, bytes]]:
    """The sequence and payload of each record that the log holds, of those after the sequence `after`."""
    return Tail(storage, after).read()


def examine(storage: Storage) -> Held:
    """Read the whole log, and tell what it holds."""
    last, count, damaged, unfinished = 0, 0, 0, 0
    first_damaged = ""
    expected: int | None = None
    for segment, limit in _limited(segments(storage)):
        path = segment.name.path
        size = storage.size(path)
        if expected is not None and segment.first > expected:
            damaged, first_damaged = damaged + size, first_damaged or path
            continue
        expected, end = segment.first, segment.start
        for record in records(storage.local(path), segment.start, segment.first):
            if limit is not None and record.sequence >= limit:
                # What is overruled is no damage.
                end = size
                break
            last, end, expected, count = record.sequence, record.end, record.sequence + 1, count + 1
        last = max(last, segment.first - 1)
        if end < size and (limit is None or limit > expected):
            if limit is None and _is_unfinished(storage.local(path), end, size):
                unfinished += size - end
            else:
                damaged, first_damaged = damaged + size - end, first_damaged or path
    return Held(last, count, damaged, first_damaged, unfinished)


def _is_unfinished(path: Path, end: int, size: int) -> bool:
    """Whether what is behind an offset is the beginning of one record."""
    with path.open("rb") as file:
        file.seek(end)
        head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return True
    length: int = FRAME.unpack(head)[0]
    return end + FRAME.size + length > size


def begin(storage: Storage, name: Name, first: int) -> int:
    """Begin a segment whose first record will have the sequence `first`; returns its file, open for writing.

    Its name and header are on the disk. OSError: what the system refuses, also where the name is taken.
    """
    path = storage.local(name.path)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(file, header(name.epoch, first))
        os.fsync(file)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        os.close(file)
        raise
    return file


def write_all(file: int, data: bytes) -> None:
    """Write all of the data to an open file. OSError: what the system refuses."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def renew(storage: Storage, folded_through: int) -> None:
    """Begin an empty segment, so that the others can be removed, where nobody writes and all changes are folded.

    Epochs go on, so that a writer that was thought to be gone finds out. `folded_through` as in `removable`.
    IndexerError: the system refuses to write.
    """
    if not storage.is_local or not names(storage):
        return
    lock = filelock.FileLock(storage.local(WRITER_LOCK))
    try:
        with lock.acquire(timeout=0):
            held, last = examine(storage), names(storage)[-1]
            is_empty = storage.size(last.path) <= HEADER.size
            if held.last <= folded_through and not held.damaged and not is_empty:
                os.close(begin(storage, Name(last.epoch + 1, 1), folded_through + 1))
    except filelock.Timeout:
        return
    except OSError as error:
        raise IndexerError(f"{storage.local(FOLDER)} cannot be written to: {error.strerror or error}.") from error


def removable(storage: Storage, folded_through: int) -> list[str]:
    """The segments all of whose records are part of every generation that is kept, the oldest first.

    `folded_through` is the least of those of the kept generations.
    """
    there = segments(storage)
    return [
        one.name.path
        for place, one in enumerate(there)
        if any(later.first <= folded_through + 1 for later in there[place + 1 :])
    ]


def _limited(there: list[Segment]) -> Iterator[tuple[Segment, int | None]]:
    """The segments that are not overruled as a whole, with the sequence from which on later ones overrule them."""
    for place, segment in enumerate(there):
        limit = min((later.first for later in there[place + 1 :]), default=None)
        if limit is None or segment.first < limit:
            yield segment, limit


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_NUMBERED.pack(len(payload), sequence)))


def _header_checksum(epoch: int, first: int) -> int:
    return zlib.crc32(MAGIC + struct.pack("<QQ", epoch, first))
