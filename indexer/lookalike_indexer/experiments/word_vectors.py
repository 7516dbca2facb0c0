"""Word vectors from a text file, for class names.

The format is that of word2vec and GloVe: a word and its numbers on each line, separated by spaces. The first line of
word2vec has the number of words and of dimensions; GloVe has no such line. A word may be a phrase joined by
underscores, preceded by a WordNet number ("n02979186_cassette_player").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from lookalike_indexer.arrays import Float32
from lookalike_indexer.errors import NotFoundError, UsageError

_WNID = re.compile(r"^n\d{8}[_ -]+")
# A longer line is not valid, and would be read into memory as a whole.
_LONGEST_LINE = 1 << 20
_MOST_DIMS = 1 << 14
# Words that do not contribute to the meaning of a name.
_STOP = frozenset(["a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"])
# The weight of the head noun relative to all further words: a barn spider is a spider.
_HEAD = 2.0


@dataclass(frozen=True)
class NameVectors:
    """The vectors of some names.

    `found` are the positions of the names that have one, `vectors` theirs, float32 (found, dim); `used` has for each
    name the words of the file that represent it, "" for a name without any.
    """

    found: list[int]
    vectors: Float32
    used: list[str]


def name_vectors(path: Path, names: Sequence[str]) -> NameVectors:
    """Return the vectors of some names: the phrase's own, or else the mean of those of its words in the file.

    Stop words do not count. The head noun, the last word before the first stop word, weighs twice as much as all the
    others together. Case is ignored; the first of several spellings counts. Reads the file once and stores only what is
    needed. Raise NotFoundError if the file does not exist. Raise UsageError if it has another format.
    """
    phrases = [plain(name) for name in names]
    wanted = {word for phrase in phrases for word in (phrase, *phrase.split(" "))}
    vectors = _read(path, wanted)
    found, rows, used = [], [], []
    for position, phrase in enumerate(phrases):
        head, words = _head_and_words(phrase)
        parts = [phrase] if phrase in vectors else [word for word in words if word in vectors]
        used.append(", ".join(parts))
        if parts:
            found.append(position)
            others = [part for part in parts if part != head]
            weights = [_HEAD * max(len(others), 1) if part == head else 1.0 for part in parts]
            rows.append(np.average([vectors[part] for part in parts], axis=0, weights=weights))
    dim = len(next(iter(vectors.values()))) if vectors else 0
    return NameVectors(found, np.array(rows, np.float32).reshape(len(found), dim), used)


def _head_and_words(phrase: str) -> tuple[str, list[str]]:
    """Return the head noun of a phrase, and its words without stop words; if all are stop words, they are kept."""
    words = phrase.split(" ")
    kept = [word for word in words if word not in _STOP] or words
    before: list[str] = []
    for word in words:
        if word in _STOP and before:
            break
        before += [word] if word in kept else []
    return (before or kept)[-1], kept


def plain(name: str) -> str:
    """Return a name as lower-case words of letters and digits, separated by single spaces, without WordNet number."""
    return " ".join(re.findall(r"\w+", _WNID.sub("", name).casefold().replace("_", " ")))


def _read(path: Path, wanted: set[str]) -> dict[str, Float32]:
    if not path.is_file():
        raise NotFoundError(f"There is no word vectors file {path}.")
    vectors: dict[str, Float32] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, word, values in _lines(path, file):
                key = plain(word)
                if key in wanted and key not in vectors:
                    vectors[key] = _numbers(path, number, values)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The word vectors {path} cannot be read as text: {error}.") from error
    return vectors


def _lines(path: Path, file: TextIO) -> Iterator[tuple[int, str, list[str]]]:
    """Yield number, word and values of each line; all lines have the same number of values."""
    dim = 0
    for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), ""), 1):
        if len(line) == _LONGEST_LINE:
            raise UsageError(f"Line {number} of {path} is too long for word vectors: a word and its numbers.")
        fields = line.rstrip().split(" ")
        if fields == [""]:
            continue
        if number == 1 and len(fields) == 2 and all(field.isdecimal() for field in fields):
            dim = int(fields[1])
            continue
        dim = dim or len(fields) - 1
        # GloVe has words with spaces in them.
        word, values = " ".join(fields[:-dim]), fields[-dim:]
        if not word or not 1 <= dim <= _MOST_DIMS:
            raise UsageError(
                f"Line {number} of {path} has no word and {dim} numbers; give word vectors as GloVe or word2vec write "
                "them as text: a word and its numbers on each line."
            )
        yield number, word, values


def _numbers(path: Path, number: int, values: Iterable[str]) -> Float32:
    try:
        vector = np.array([float(value) for value in values], np.float32)
    except ValueError as error:
        raise UsageError(f"Line {number} of {path} has a value that is not a number: {error}.") from error
    if not np.isfinite(vector).all():
        raise UsageError(f"Line {number} of {path} has a value that is not finite.")
    return vector
