from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.experiments import word_vectors
from lookalike_indexer.experiments.word_vectors import name_vectors, plain


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "words.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_phrases_go_before_words_and_words_are_averaged(write):
    path = write("chain 1 0\nsaw 0 1\nn03394916_French_horn 5 5\nfrench 9 9\nTENCH 2 3\ntench 7 7\n")
    found = name_vectors(path, ["chain saw", "French horn", "tench", "English setter", "saw-fish"])
    assert found.found == [0, 1, 2, 4]
    np.testing.assert_allclose(found.vectors, [[1 / 3, 2 / 3], [5, 5], [2, 3], [0, 1]], rtol=1e-6)
    assert found.vectors.dtype == np.float32
    assert found.used == ["chain, saw", "french horn", "tench", "", "saw"]


@pytest.mark.parametrize(
    "text", ["2 3\ncat 1 2 3\ndog 4 5 6\n", "cat 1 2 3 \ndog 4 5 6", ". . 1 1 1\ncat 1 2 3\ndog 4 5 6\n"]
)
def test_headers_trailing_spaces_and_words_with_spaces(write, text: str):
    if text.startswith(". ."):
        text = f"2 3\n{text}"  # only a header tells how many of the fields are numbers
    found = name_vectors(write(text), ["dog", "cat"])
    np.testing.assert_array_equal(found.vectors, [[4, 5, 6], [1, 2, 3]])


def test_nothing_found_is_no_error_here(write):
    found = name_vectors(write("cat 1 2\n"), ["dog"])
    assert (found.found, found.vectors.shape, found.used) == ([], (0, 0), [""])


def test_names_are_compared_without_case_punctuation_and_wordnet_number():
    assert plain("n02979186_cassette_player") == "cassette player"
    assert plain("German short-haired pointer") == "german short haired pointer"
    assert plain("Ärmel") == "ärmel"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat 1 2\ndog 1\n", "Line 2 of .* has no word and 2 numbers"),
        ("cat\n", "Line 1 of .* has no word"),
        ("cat 1 x\n", "Line 1 of .* has a value that is not a number"),
        ("dog 1 2\ncat 1 nan\n", "Line 2 of .* has a value that is not finite"),
        (b"\xff\xfe\x00cat 1", "cannot be read as text"),
        ("cat " + "1 " * 200 + "\n", "Line 1 of .* is too long"),
    ],
)
def test_mistakes_are_named(write, monkeypatch, content, message: str):
    monkeypatch.setattr(word_vectors, "_LONGEST_LINE", 300)
    with pytest.raises(UsageError, match=message):
        name_vectors(write(content), ["cat"])


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"There is no word vectors file .*none\.txt"):
        name_vectors(tmp_path / "none.txt", ["cat"])


def test_stop_words_do_not_count_and_the_head_noun_weighs_most(write):
    path = write("hen 3 0\nof 9 9\nthe 9 9\nwoods 0 3\nbarn 0 9\nspider 9 0\n")
    found = name_vectors(path, ["hen-of-the-woods", "barn spider", "black barn spider"])
    np.testing.assert_allclose(found.vectors, [[2, 1], [6, 3], [6, 3]], rtol=1e-6)
    assert found.used == ["hen, woods", "barn, spider", "barn, spider"]
