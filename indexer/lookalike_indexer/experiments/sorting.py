"""Files of the images, sorted into a folder for each cluster or label."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lookalike_indexer.collection.commands import unreadable_images
from lookalike_indexer.errors import DecodeError, NotBuiltError, NotFoundError, UsageError
from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Progress
from lookalike_indexer.sources.fetch import Fetcher, is_contained

_NONE = "none"
_LONGEST = 100


@dataclass(frozen=True)
class FileTarget:
    """The file of an image, and its target folder and name."""

    uri: str
    folder: str
    name: str


@dataclass(frozen=True)
class Sorted:
    """The counts of written folders and files; `missing` are the files that cannot be read."""

    folders: int
    files: int
    missing: list[str]


def plan_targets(view: View, by: str, clustering: str = "") -> list[FileTarget]:
    """Return the target of each image, by folder, then by id; `by` is "cluster" or "label".

    The name is that of the image's file, with the id if two in a folder have the same name. Raise NotFoundError if the
    clustering does not exist. Raise NotBuiltError if there is no clustering, or no image has a label.
    """
    if by == "label":
        view.require_labels()
        codes = view.labels
        folders = _distinct([_safe(name) for name in view.label_names])
    else:
        codes = view.assigned(view.clustering_name(clustering)).clusters
        digits = len(str(max(0, int(codes.max(initial=0)))))
        folders = [f"cluster-{number:0{digits}d}" for number in range(int(codes.max(initial=-1)) + 1)]
    rows = np.arange(len(view))
    keys, uris = view.keys(rows), view.uris(rows)
    taken: set[tuple[str, str]] = set()
    plan = []
    for row in np.argsort(codes, kind="stable").tolist():
        folder = folders[codes[row]] if codes[row] >= 0 else _NONE
        name = _safe(keys[row].rsplit("/", 1)[-1])
        if (folder, name.casefold()) in taken:
            path = PurePosixPath(name)
            name = f"{path.stem}-{view.ids[row]}{path.suffix}"
        taken.add((folder, name.casefold()))
        plan.append(FileTarget(uris[row], folder, name))
    return plan


def write_sorted(view: View, plan: Sequence[FileTarget], into: Path, copy: bool, progress: Progress) -> Sorted:
    """Write links, or copies, into a new or empty folder.

    Raise UsageError if the folder has files, or links are requested and images are in archives. Raise NotFoundError if
    it cannot be written. Raise NotBuiltError, and write nothing, if no image can be read.
    """
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UsageError(f"--into {into} is not an empty folder; name a new one.")
    if not copy and any(is_contained(one.uri) for one in plan):
        raise UsageError("The images lie within archives, which links cannot point to; give --copy.")
    missing, made = [], set()
    files = 0
    limit = view.reader.manifest.limits.max_bytes
    try:
        with progress.stage("Sorting", len(plan), "files") as bar, Fetcher() as fetcher:
            for one in plan:
                target = into / one.folder / one.name
                bar.advance()
                try:
                    data = fetcher.fetch(one.uri, limit) if copy else None
                except DecodeError:
                    missing.append(one.uri)
                    continue
                if data is None and not Path(one.uri).is_file():
                    missing.append(one.uri)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                if data is None:
                    target.symlink_to(Path(one.uri).absolute())
                else:
                    target.write_bytes(data)
                files += 1
                made.add(one.folder)
    except OSError as error:
        raise NotFoundError(f"--into {into} cannot be written: {error.strerror}.") from error
    if missing and not files:
        manifest = view.reader.manifest
        raise NotBuiltError(
            unreadable_images(view.reader.storage.location, manifest.source.uri, len(missing), len(plan))
        )
    return Sorted(len(made), files, missing)


def _safe(text: str) -> str:
    """Return a name that is valid on any file system, never empty or hidden; its suffix stays."""
    plain = unicodedata.normalize("NFC", text)
    plain = re.sub(r"[^\w.@+ -]+", "-", plain).strip(". ")
    if len(plain) > _LONGEST:
        suffix = PurePosixPath(plain).suffix[:10]
        plain = plain[: _LONGEST - len(suffix)] + suffix
    return plain or "image"


def _distinct(names: list[str]) -> list[str]:
    """Return the names, numbered if two are equal in any case, or equal the name for missing labels."""
    seen = {_NONE}
    found = []
    for name in names:
        one, number = name, 1
        while one.casefold() in seen:
            number += 1
            one = f"{name}-{number}"
        seen.add(one.casefold())
        found.append(one)
    return found
