"""Write-ahead log of changes to a served collection: segments of numbered, checksummed records.

    live/<epoch>-<number>.wal       epoch and number are six and four digits

A segment begins with a header: the magic, the epoch of its writer, and the sequence number of its first record. Each
record that follows is, little-endian,

    length (uint32) | CRC-32 (uint32) | sequence (uint64) | payload (length bytes)

The checksum covers the length, the sequence and the payload. The CRC-32 is that of zlib, which detects every burst of
up to 32 bits as CRC-32C does and needs no further package. A payload is a message of the server, which is opaque here.

Sequence numbers increase by one, within a segment and from one segment to the next. A later segment overrides an
earlier one: records of the earlier one from the later one's first sequence on were never acknowledged. The valid
content of a log is therefore the longest run of records without a gap. Damage loses the records after it.
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
# The single writer process holds this lock.
WRITER_LOCK = f"{FOLDER}/.writer-lock"
MAGIC = b"LOOKLIVE"
HEADER = struct.Struct("<8sQQI")
FRAME = struct.Struct("<IIQ")
# A record is the message of one call. A greater length indicates damage.
MOST_BYTES = 1 << 31
_NUMBERED = struct.Struct("<IQ")
_NAME = re.compile(r"(\d{6,})-(\d{4,})\.wal")


class Name(NamedTuple):
    """The position of a segment in the order of all segments."""

    epoch: int
    number: int

    @property
    def path(self) -> str:
        """The path relative to the collection's root."""
        return f"{FOLDER}/{self.epoch:06d}-{self.number:04d}.wal"


class Record(NamedTuple):
    """A record and the offset of the byte after it."""

    sequence: int
    payload: bytes
    end: int


@dataclass(frozen=True)
class Segment:
    """A segment with a valid header; its records begin at offset `start`."""

    name: Name
    first: int
    start: int = HEADER.size


def header(epoch: int, first: int) -> bytes:
    """Return the header of a segment whose first record has the sequence `first`."""
    return HEADER.pack(MAGIC, epoch, first, _header_checksum(epoch, first))


def frame(sequence: int, payload: bytes) -> bytes:
    """Return the encoded form of a record."""
    return FRAME.pack(len(payload), _checksum(sequence, payload), sequence) + payload


def names(storage: Storage) -> list[Name]:
    """Return the names of the existing segments, in order."""
    found = [match for name in storage.list(FOLDER) if (match := _NAME.fullmatch(name))]
    return sorted(Name(int(match[1]), int(match[2])) for match in found)


def opened(storage: Storage, name: Name) -> Segment | None:
    """Return a segment if its header is complete and valid, else None."""
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
    """Return the segments with a valid header, in order."""
    return [one for name in names(storage) if (one := opened(storage, name)) is not None]


def records(path: Path, start: int, expected: int) -> Iterator[Record]:
    """Yield the records of a segment from the offset `start` on; the first has the sequence `expected`.

    Stops before the first record that is truncated, damaged, or out of sequence.
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
class LogSummary:
    """The contents of a log: its `last` sequence (0 for an empty log) and its number of `records`.

    `damaged_bytes` after the last record cannot be read. They begin in the file `damaged` ("" if there are none) and
    include the files after it. `unfinished_bytes` at the end belong to a record that was not completely written, and
    was never acknowledged.
    """

    last: int
    records: int = 0
    damaged_bytes: int = 0
    damaged: str = ""
    unfinished_bytes: int = 0


class OverruledError(Exception):
    """Records that were already read are not part of the log anymore; the reader must start again."""


class Tail:
    """Incremental reader of a log, from after a given sequence; each call reads the new records."""

    def __init__(self, storage: Storage, after: int) -> None:
        self._storage = storage
        # The sequence of the last record that was read.
        self.last = after
        self._segment: Name | None = None
        self._end = 0

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Yield the sequence and payload of each new record.

        Raise OverruledError if a record that was read before is gone.
        """
        there = segments(self._storage)
        if self._segment is not None and any(one.name > self._segment and one.first <= self.last for one in there):
            raise OverruledError
        for segment, limit in _limited(there):
            if self._segment is not None and segment.name < self._segment:
                continue
            if limit is not None and limit <= self.last + 1 and segment.name != self._segment:
                continue
            # Records after a gap do not count.
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
    """Yield the sequence and payload of each valid record after the sequence `after`."""
    return Tail(storage, after).read()


def examine(storage: Storage) -> LogSummary:
    """Read the whole log and return a summary of its contents."""
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
                # Overridden records are not damage.
                end = size
                break
            last, end, expected, count = record.sequence, record.end, record.sequence + 1, count + 1
        last = max(last, segment.first - 1)
        if end < size and (limit is None or limit > expected):
            if limit is None and _is_unfinished(storage.local(path), end, size):
                unfinished += size - end
            else:
                damaged, first_damaged = damaged + size - end, first_damaged or path
    return LogSummary(last, count, damaged, first_damaged, unfinished)


def _is_unfinished(path: Path, end: int, size: int) -> bool:
    """Return whether the bytes from the offset `end` on are the beginning of one record."""
    with path.open("rb") as file:
        file.seek(end)
        head = file.read(FRAME.size)
    if len(head) < FRAME.size:
        return True
    length: int = FRAME.unpack(head)[0]
    return end + FRAME.size + length > size


def begin(storage: Storage, name: Name, first: int) -> int:
    """Create a segment whose first record will have the sequence `first`; return its file descriptor, open for writing.

    The name and header are synced to the disk. Raise OSError if the system refuses, or the name exists.
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
    """Write all of the data to a file descriptor. Raise OSError if the system refuses."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def renew(storage: Storage, folded_through: int) -> None:
    """Create an empty segment so that the others can be removed, if there is no writer and all changes are folded.

    The epoch increases, so that a writer that was presumed dead detects the change. `folded_through` as in `removable`.
    Raise IndexerError if the system refuses to write.
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
    """Return the segments whose records are all part of every kept generation, oldest first.

    `folded_through` is the smallest such value of the kept generations.
    """
    there = segments(storage)
    return [
        one.name.path
        for place, one in enumerate(there)
        if any(later.first <= folded_through + 1 for later in there[place + 1 :])
    ]


def _limited(there: list[Segment]) -> Iterator[tuple[Segment, int | None]]:
    """Yield each segment that is not completely overridden, and the sequence from which later segments override it."""
    for place, segment in enumerate(there):
        limit = min((later.first for later in there[place + 1 :]), default=None)
        if limit is None or segment.first < limit:
            yield segment, limit


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_NUMBERED.pack(len(payload), sequence)))


def _header_checksum(epoch: int, first: int) -> int:
    return zlib.crc32(MAGIC + struct.pack("<QQ", epoch, first))
