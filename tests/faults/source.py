"""Changing source of images: a folder, a Parquet file or a zip file, with its history."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import random
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAMES = {"folder": "pictures", "Parquet file": "pictures.parquet", "zip file": "pictures.zip"}
# All images have this length, so that the length never reveals a change.
_LENGTH = 4096
_SECOND = 1_000_000_000
_FIRST_TIME = 1_600_000_000 * _SECOND


class ChangingSource:
    """Images by key, written as one kind of source below the folder `place`.

    `pictures` has the current bytes of each key, and `broken` the keys whose bytes are no
    image. `held` has the digests that each key ever held, `known` the bytes of every digest.
    """

    def __init__(self, kind: str, place: Path, draw: random.Random) -> None:
        self.kind, self.place = kind, place
        self._draw = draw
        self._made = 0
        self._times: dict[str, int] = {}
        self.pictures: dict[str, bytes] = {}
        self.broken: set[str] = set()
        # Keys whose bytes changed with unchanged length and time, until they change visibly.
        self.unseen: set[str] = set()
        self.labels: dict[str, str] = {}
        self.held: defaultdict[str, set[str]] = defaultdict(set)
        self.known: dict[str, bytes] = {}
        for _ in range(6):
            self._put(self._new_key(), self._paint())
        self.write()

    @property
    def path(self) -> Path:
        """The path for commands."""
        return self.place / NAMES[self.kind]

    @property
    def changes(self) -> list[Callable[[], str]]:
        """Return all possible changes of the source; each returns what it did in words."""
        unmoved = [self._add, self._replace, self._replace_unseen, self._swap, self._rename, self._remove]
        return [*unmoved, self._break, self._relabel, self._rewrite, self.move]

    def change(self) -> str:
        """Make one change, and return it in words."""
        told = self._draw.choice(self.changes)()
        self.write()
        return told

    def move(self) -> str:
        """Move the source to another folder."""
        self._made += 1
        return self.move_to(self.place.with_name(f"place-{self._made}"))

    def move_to(self, place: Path) -> str:
        """Move the source to a given folder."""
        self.place.rename(place)
        self.place = place
        return f"move the source to {place.name}"

    def write(self) -> None:
        """Write the source in its current state."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        {"folder": self._write_folder, "Parquet file": self._write_parquet, "zip file": self._write_zip}[self.kind]()

    def write_labels(self, path: Path) -> dict[str, str]:
        """Write the labels of the current keys to a CSV file; return them."""
        there = {key: label for key, label in self.labels.items() if key in self.pictures}
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("key", "label"), *there.items()])
        return there

    def _add(self) -> str:
        key = self._new_key()
        self._put(key, self._paint())
        return f"add {key}"

    def _replace(self) -> str:
        key = self._any()
        self._put(key, self._paint())
        return f"replace {key}"

    def _replace_unseen(self) -> str:
        key = self._any()
        before = self._times[key]
        self._put(key, self._paint())
        self._times[key] = before
        self.unseen.add(key)
        return f"replace {key} and keep its length and time"

    def _swap(self) -> str:
        one, other = self._any(), self._any()
        first, second = self.pictures[one], self.pictures[other]
        are_broken = one in self.broken, other in self.broken
        self._put(one, second, are_broken[1])
        self._put(other, first, are_broken[0])
        return f"swap {one} and {other}"

    def _rename(self) -> str:
        key, new = self._any(), self._new_key()
        self._put(new, self.pictures[key], key in self.broken)
        self._drop(key)
        return f"rename {key} to {new}"

    def _remove(self) -> str:
        if not self._has_some():
            return self._add()
        key = self._any()
        self._drop(key)
        return f"remove {key}"

    def _break(self) -> str:
        if not self._has_some():
            return self._add()
        key = self._any()
        self._put(key, b"\x89PNG\r\n\x1a\n" + self._draw.randbytes(_LENGTH - 8), broken=True)
        return f"break {key}"

    def _relabel(self) -> str:
        keys = [self._any(), self._any()]
        self.labels |= {key: self._draw.choice(("plant", "stone")) for key in keys}
        return f"label {keys[0]} and {keys[1]}"

    def _rewrite(self) -> str:
        keys = self._draw.sample(sorted(self.pictures), len(self.pictures))
        self.pictures = {key: self.pictures[key] for key in keys}
        self._times = dict.fromkeys(keys, self._now())
        return "write all images again in another order"

    def _has_some(self) -> bool:
        return len(self.pictures) - len(self.broken) > 3

    def _any(self) -> str:
        return self._draw.choice(sorted(self.pictures))

    def _new_key(self) -> str:
        self._made += 1
        return f"{self._draw.choice(('cats', 'dogs', 'owls'))}/{self._made:02d}.png"

    def _now(self) -> int:
        self._made += 1
        return _FIRST_TIME + self._made * _SECOND

    def _put(self, key: str, data: bytes, broken: bool = False) -> None:
        digest = hashlib.sha256(data).hexdigest()
        self.pictures[key], self._times[key] = data, self._now()
        self.known[digest] = data
        self.held[key].add(digest)
        self.unseen.discard(key)
        (self.broken.add if broken else self.broken.discard)(key)

    def _drop(self, key: str) -> None:
        del self.pictures[key], self._times[key]
        self.broken.discard(key)

    def _paint(self) -> bytes:
        """Return a unique PNG of _LENGTH bytes; decoders skip the bytes after its end."""
        coarse = np.frombuffer(self._draw.randbytes(4 * 5 * 3), np.uint8).reshape(4, 5, 3)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((20, 16), Image.Resampling.NEAREST).save(file, "PNG")
        return file.getvalue().ljust(_LENGTH, b"\0")

    def _write_folder(self) -> None:
        for key, data in self.pictures.items():
            path = self.path / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, ns=(self._times[key], self._times[key]))

    def _write_parquet(self) -> None:
        table = pa.table({"key": list(self.pictures), "image": pa.array(list(self.pictures.values()), pa.binary())})
        pq.write_table(table, self.path, row_group_size=4)
        self._stamp()

    def _write_zip(self) -> None:
        with zipfile.ZipFile(self.path, "w") as archive:
            for key, data in self.pictures.items():
                archive.writestr(key, data)
        self._stamp()

    def _stamp(self) -> None:
        latest = max(self._times.values())
        os.utime(self.path, ns=(latest, latest))
