from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lookalike_indexer.collection.uris import absolute
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.sources.fetch import fetch
from lookalike_indexer.sources.open import open_source


def keys(path: Path, text: bytes) -> list[str]:
    path.write_bytes(text)
    return [row.key for row in open_source(str(path)).rows()]


def test_reads_lists_as_people_and_programs_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    lines = {
        "\ufeffa.jpg": "a.jpg",
        "# a comment": None,
        "#": None,
        "   ": None,
        '"b c.jpg"': "b c.jpg",
        "'d.jpg'": "d.jpg",
        "~/e.jpg": "/home/me/e.jpg",
        "file:///data/f%20%23.jpg": "/data/f #.jpg",
        "file://localhost/g.jpg": "/g.jpg",
        "././/h.jpg": "h.jpg",
        "#1.jpg": "#1.jpg",
        "i.jpg?x": "i.jpg?x",
        '"': '"',
    }
    found = keys(tmp_path / "list.txt", "\r\n".join(lines).encode())
    assert found == [key for key in lines.values() if key]
    source = open_source(str(tmp_path / "list.txt"))
    uris = [absolute(source.entry, row.uri) for row in source.rows()]
    assert uris[0] == str(tmp_path / "a.jpg")
    assert uris[3] == "/home/me/e.jpg"
    assert source.left_out == {"comment line": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a.jpg\ncaf\xe9.jpg\n", r"Line 2 of the list file .*list\.txt is not UTF-8 text; write the list as UTF-8"),
        (b"https://example.org/a.jpg\n", "Line 1 of .* is the web address .*; download the images"),
        (b"file://server/a.jpg\n", "Line 1 of .* names a file of another machine"),
    ],
)
def test_line_that_cannot_be_a_file_is_named_with_its_number(tmp_path: Path, text: bytes, message: str):
    with pytest.raises(UsageError, match=message):
        keys(tmp_path / "list.txt", text)


def test_list_on_standard_input_starts_from_the_current_folder(tmp_path: Path, make_picture, monkeypatch):
    make_picture(tmp_path / "photos" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"photos/a.jpg\n# x\n")))
    source = open_source("-")
    assert list(source.keys() or ()) == ["photos/a.jpg"]
    (row,) = source.rows()
    assert row.bytes == os.stat("photos/a.jpg").st_size
    assert fetch(absolute(source.entry, row.uri), 10_000)
    with pytest.raises(NotFoundError, match=r"came from standard input; give it again, from the folder .*, with: -"):
        open_source(source.entry.uri)
