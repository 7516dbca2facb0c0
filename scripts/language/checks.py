"""Language checks: proselint with the project's words, spelling, identifiers, length of sentences, passive voice."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import codespell_lib
from proselint.checks import __register__
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, types
from proselint.registry.checks.engine import Fancy
from proselint.tools import LintFile

from language.prose import Prose, sentences, tokens

WORDS: Final = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
# Rules of proselint for reference texts. Its typography rules require curly quotes, its cliche rules are about taste.
_RULES: Final = ("redundancy", "needless_variants", "malapropisms", "mixed_metaphors", "nonwords", "lookalike")

MOST_WORDS: Final = 25
# Upper limit for every sentence.
LONGEST: Final = 40
_WORD: Final = re.compile(r"\S*[A-Za-z0-9]\S*")
_PASSIVE: Final = re.compile(
    r"\b(?:is|are|was|were|be|been|being)\s+(?:\w+ly\s+|not\s+|never\s+|also\s+)?"
    r"(?!indeed\b|need\b|speed\b|red\b)"
    r"(?:\w+ed|known|shown|given|taken|written|read|sent|kept|left|made|found|told|held|built|drawn|run|cut|put|set)\b"
)


@dataclass(frozen=True)
class Finding:
    """A problem and its place."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Measure:
    """Sentences of a document or a package: the number of all, the long ones, and the number of passive ones."""

    sentences: int
    long: tuple[Finding, ...]
    passive: int


def measured(texts: Sequence[Prose]) -> Measure:
    long, count, passive = [], 0, 0
    for text in texts:
        for offset, sentence in sentences(text.text):
            words = len(_WORD.findall(sentence))
            count += 1
            passive += bool(_PASSIVE.search(sentence))
            if words > MOST_WORDS:
                message = f"a sentence of {words} words: {sentence[:60]}..."
                long.append(Finding(text.path, text.line_of(offset), message))
    return Measure(count, tuple(long), passive)


def too_long(text: Prose) -> Iterator[Finding]:
    """Yield sentences above the limit for every sentence."""
    for offset, sentence in sentences(text.text):
        words = len(_WORD.findall(sentence))
        if words > LONGEST:
            yield Finding(text.path, text.line_of(offset), f"{words} words, at most {LONGEST}: {sentence[:60]}...")


# A sentence that begins so, and asks nothing, names no actor: "What waits for a worker".
_HEADLESS: Final = re.compile(r"(?:What|Who(?:ever|m|se)?|Which|How|Whether|Where|Whatever)\b(?!.*,)(?!.*\?)")


def headless(text: Prose) -> Iterator[Finding]:
    """Yield docstrings and comments whose first sentence is a relative clause without a main clause."""
    for offset, sentence in sentences(text.text):
        if _HEADLESS.match(sentence):
            yield Finding(text.path, text.line_of(offset), f"name the actor, or the thing: {sentence[:60]}...")
        return


def phrases(texts: Sequence[Prose]) -> Iterator[Finding]:
    """Yield words and phrases for which proselint, or the project's list, prefers another."""
    registry = CheckRegistry()
    if not registry.checks:
        # Only the enabled ones: the registry looks through all of its checks for each text.
        registry.register_many(tuple(check for check in __register__ if any(map(check.matches_partial, _RULES))))
        registry.register_many(_own())
    rules = dict.fromkeys(_RULES, True)
    config: Any = {"max_errors": 1000, "checks": rules}
    for text in texts:
        # A phrase may continue on the next line; every character keeps its position.
        for result in LintFile("prose", re.sub(r"(?<!\n)\n(?!\n)", " ", text.text)).lint(config):
            found = result.check_result
            yield Finding(text.path, text.line_of(found.span[0]), found.message)


def _own() -> tuple[Check, ...]:
    replaced = Check(
        check_type=types.PreferredForms({re.escape(said): better for said, better in WORDS["preferred"]}),
        path="lookalike.preferred",
        message="Write '{}' instead of '{}'.",
    )
    banned = (
        Check(types.ExistenceSimple(phrase), Fancy(), "lookalike.banned", f"'{{}}': {advice}.")
        for phrase, advice in WORDS["banned"].items()
    )
    return replaced, *banned


def spelling(texts: Sequence[Prose]) -> Iterator[Finding]:
    """Yield misspelled and British words, found by codespell."""
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            Path(folder, f"{number}.txt").write_text(text.text.replace("\f", "\n"), encoding="utf-8")
        command = [
            sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare,en-GB_to_en-US",
            "--ignore-words-list", ",".join(WORDS["spelling"]["words"]), "--quiet-level", "2", folder,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        file, row, message = re.fullmatch(r"(.*?):(\d+): (.*)", line).groups()  # type: ignore[union-attr]
        text = texts[int(Path(file).stem)]
        yield Finding(text.path, text.line + int(row) - 1, message)


# The words of an identifier: "readColors", "read_colors", "HTTPColors".
_PARTS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PREFIX: Final = re.compile(r"^(?:de|pre|re|un)(?=\w{5})")


def identifiers(path: Path) -> Iterator[Finding]:
    """Yield British words in the name of a file, and in the names in Python or JavaScript code, once for each name."""
    names = {**_names(path), path.stem: 1}
    accepted, american = WORDS["identifiers"]["words"], _american()
    for name, line in names.items():
        # `test_cancelled_calls` has an accepted word, too.
        for part in _PARTS.findall("" if name in accepted else name):
            word = part.lower()
            better = american.get(word) or american.get(_PREFIX.sub("", word))
            if better and part not in accepted:
                yield Finding(path, line, f"the name {name}: {word} ==> {better}")


def _names(path: Path) -> dict[str, int]:
    """Return the first line of each name."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return tokens(source).names
    names: dict[str, int] = {}
    for line, text in enumerate(source.split("\n"), 1):
        for name in re.findall(r"[A-Za-z_]\w*", text):
            names.setdefault(name, line)
    return names


@cache
def _american() -> Mapping[str, str]:
    """Return codespell's American spelling of each British word."""
    file = Path(codespell_lib.__file__).parent / "data" / "dictionary_en-GB_to_en-US.txt"
    pairs = (line.strip().partition("->") for line in file.read_text(encoding="utf-8").splitlines())
    return {word: better for word, _, better in pairs}
