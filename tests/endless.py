"""Image whose decoding takes longer than any test: a small progressive JPEG with hundreds of thousands of scans."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from pathlib import Path
from types import TracebackType

_SIDE = 4096
_SCANS = 400_000
_IN_OPEN = 0x20


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _endless_jpeg() -> bytes:
    """Build the JPEG: each scan says in 17 bytes that it changes nothing in 262,144 blocks, which a decoder visits."""
    blocks = (_SIDE // 8) ** 2
    bits = ""
    while blocks:
        run = min(blocks, 0x7FFF)
        size = run.bit_length() - 1
        # The only code words: "0" for a run of at least 2^14 blocks, "10" for a single block.
        bits += "0" + format(run - (1 << size), "014b") if size == 14 else "10" * run
        blocks -= run if size == 14 else blocks
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    scan = _segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + coded
    tables = _segment(0xDB, b"\x00" + b"\x01" * 64)
    frame = _segment(0xC2, struct.pack(">BHHB", 8, _SIDE, _SIDE, 1) + b"\x01\x11\x00")
    codes = _segment(0xC4, b"\x10" + bytes([1, 1] + [0] * 14) + b"\xe0\x00")
    return b"\xff\xd8" + tables + frame + codes + scan * _SCANS + b"\xff\xd9"


class EndlessPicture:
    """A file with the endless image, and a watch for its readers. Decoding it takes many minutes of processor time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> EndlessPicture:
        self.path.write_bytes(_endless_jpeg())
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_CLOEXEC)
        if self._events < 0 or libc.inotify_add_watch(self._events, os.fsencode(self.path), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._events)

    def wait_for_reader(self, seconds: float = 120) -> None:
        """Wait until the file has been opened once more."""
        if not select.select([self._events], [], [], seconds)[0]:
            raise TimeoutError(f"Nobody opened {self.path} for {seconds} s.")
        os.read(self._events, 16)
