"""Encoding of a manifest: JSON with a checksum, and immutable lists that several generations share.

A table of a collection is a sequence of parts, which grows at its end. A long sequence is split into pages of a fixed
number of parts. Each page is a file, named by its digest, and the manifest lists the pages. A generation that adds some
parts writes only the last page of each table. Short sequences stay in the manifest, where people can read them.

    lists/<first 32 digits of the SHA-256>.json    [[path, bytes, sha256, rows, compute], ...]
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from lookalike_indexer.collection.canonical import sorted_keys
from lookalike_indexer.collection.manifest import FORMAT, Manifest
from lookalike_indexer.collection.typed_json import TypedJson
from lookalike_indexer.collection.upgrade import completed, upgrade
from lookalike_indexer.errors import DataLossError, MismatchError

FOLDER = "lists"
PAGE = 256
# A manifest holds sequences of up to this many parts itself.
INLINE = 64

_OPENING = b"{\n"
_CHECKSUM = b' "checksum": "%s",\n'
_PAGES = "pages"
# Fields added to format 2 after its golden manifest was written: omitted if empty, so that its bytes stay the same.
_ONLY_WHERE_TRUE = ("default_space_is_set", "attributes", "graphs", "tombstones", "folded_through")

# Fields of entries, with the same rule.
_ONLY_WHERE_GIVEN = (
    ("graphs", "deleted"),
    ("clusterings", "trained_rows"),
    ("indexes", "trained_rows"),
    ("indexes", "ids"),
    ("indexes", "increments"),
)

# Returns the bytes of a list by its path.
ReadList = Callable[[str], bytes]


@dataclass(frozen=True)
class EncodedManifest:
    """The bytes of a manifest, and those of its lists by path."""

    manifest: bytes
    lists: dict[str, bytes]


def encode(manifest: Manifest) -> EncodedManifest:
    """Return a manifest as canonical JSON: equal manifests give equal bytes. Its first entry is the SHA-256 of the
    rest.
    """
    raw = msgspec.to_builtins(manifest)
    for name in _ONLY_WHERE_TRUE:
        if not raw[name]:
            del raw[name]
    for clustering in raw["clusterings"].values():
        _write_strategy(clustering)
    for kind, name in _ONLY_WHERE_GIVEN:
        for entry in raw.get(kind, {}).values():
            if not entry.get(name):
                entry.pop(name, None)
    files: dict[str, Any] = raw["files"]
    lists: dict[str, bytes] = {}
    paged: set[str] = set()
    for holder, name in _sequences(raw):
        if len(holder[name]) > INLINE:
            paged.update(holder[name])
            pages = list(_pages(holder[name], files))
            lists |= {list_path(digest): data for digest, data in pages}
            holder[name] = {_PAGES: [digest for digest, _ in pages]}
    raw["files"] = {path: entry for path, entry in files.items() if path not in paged}
    data = msgspec.json.format(msgspec.json.encode(sorted_keys(raw)), indent=1) + b"\n"
    head = _OPENING + _CHECKSUM % hashlib.sha256(data).hexdigest().encode() + data.removeprefix(_OPENING)
    return EncodedManifest(head, lists)


def decode(data: bytes, name: str, read_list: ReadList) -> Manifest:
    """Parse a manifest; `name` is used in error messages.

    Raise MismatchError if this version does not support the format. Raise DataLossError if the data is not a manifest,
    or it or one of its lists was changed.
    """
    try:
        head = _HEAD.decode(data)
        if head.format not in range(1, FORMAT + 1) and _checksum_fits(data) is not False:
            raise MismatchError(_another_format(name, head.format))
        if not _checksum_fits(data):
            raise DataLossError(f"{name} is not what was written: its checksum does not fit.")
        raw = upgrade(msgspec.json.decode(data))
        for holder, key in _sequences(raw):
            if isinstance(holder[key], dict):
                holder[key] = _unpaged(holder[key][_PAGES], raw["files"], name, read_list)
        return completed(_MANIFEST.convert(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        # msgspec raises UnicodeDecodeError for text that is not UTF-8.
        raise DataLossError(f"{name} is not a readable manifest: {error}.") from error


def list_path(digest: str) -> str:
    """Return the path of a list, by its SHA-256."""
    return f"{FOLDER}/{digest[:32]}.json"


def _sequences(raw: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each sequence of parts in a manifest's plain data, as the dictionary that holds it and its key there."""
    yield raw, "listing"
    yield raw, "images"
    if "tombstones" in raw:
        yield raw, "tombstones"
    for kind, names in (
        ("models", ("predictions", "rejects")),
        ("spaces", ("parts",)),
        ("clusterings", ("assignments", "parts")),
        ("indexes", ("parts",)),
        ("attributes", ("parts",)),
        ("graphs", ("neighbors", "parts")),
    ):
        for entry in raw.get(kind, {}).values():
            for name in names:
                if name in entry:
                    yield entry, name


def _write_strategy(clustering: dict[str, Any]) -> None:
    """Write the strategy as the first releases of format 2 did: k-means and spherical k-means by a flag; others by
    name.
    """
    clustering["spherical"] = clustering["strategy"] == "spherical"
    if clustering["strategy"] in ("kmeans", "spherical"):
        del clustering["strategy"]
    if not clustering["whitening"]:
        del clustering["whitening"]


def _pages(paths: list[str], files: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield the digest and the bytes of each page of a sequence."""
    for start in range(0, len(paths), PAGE):
        rows = []
        for path in paths[start : start + PAGE]:
            entry = files[path]
            rows.append([path, entry["bytes"], entry["sha256"], entry["rows"], entry["compute"]])
        data = b"[\n" + b",\n".join(map(msgspec.json.encode, rows)) + b"\n]\n"
        yield hashlib.sha256(data).hexdigest(), data


def _unpaged(digests: list[str], files: dict[str, Any], name: str, read_list: ReadList) -> list[str]:
    """Return the paths of a sequence, and add the file entries in its pages to `files`."""
    paths = []
    for digest in digests:
        data = read_list(list_path(digest))
        if hashlib.sha256(data).hexdigest() != digest:
            raise DataLossError(f"{name} names the list {list_path(digest)}, which is not what was written.")
        for path, size, sha256, rows, compute in _ROWS.decode(data):
            files[path] = {"bytes": size, "sha256": sha256, "rows": rows, "compute": compute}
            paths.append(path)
    return paths


_Row = tuple[str, int, str, int | None, str]


def _checksum_fits(data: bytes) -> bool | None:
    """Return whether a manifest matches its checksum; None if it does not begin with one."""
    line = len(_OPENING), len(_OPENING) + len(_CHECKSUM % (b"0" * 64))
    said = data[slice(*line)]
    if not data.startswith(_OPENING) or not said.startswith(_CHECKSUM[:10]):
        return None
    return said == _CHECKSUM % hashlib.sha256(_OPENING + data[line[1] :]).hexdigest().encode()


def _another_format(name: str, found: int) -> str:
    known = f"{name} has collection format {found} and this version of Lookalike reads formats 1 to {FORMAT}"
    if found > FORMAT:
        return f"{known}: a newer one wrote it; get that with: pip install --upgrade 'lookalike[all]'"
    return (
        f"{known}: an older one wrote it; make the collection again with: "
        "lookalike index SOURCE --collection NEW_FOLDER"
    )


@dataclass(frozen=True)
class _Head:
    format: int


_HEAD = TypedJson(_Head)
_MANIFEST = TypedJson(Manifest)
_ROWS = TypedJson(list[_Row])
