"""Prose of the project: documents, docstrings, comments, errors and help texts, without code.

Everything else is replaced by blanks, so that each character keeps its place and a finding can name its line.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

# Blocks to blank: fenced code, HTML comments, tables, mkdocstrings directives, indented code.
_BLOCKS: Final = (
    re.compile(r"^([ \t]*)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL),
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"^[ \t]*\|.*$", re.MULTILINE),
    re.compile(r"^:::.*(?:\n[ \t]+\S.*)*", re.MULTILINE),
    re.compile(r"(?:(?<=\n\n)|\A)(?: {4,}|\t).*(?:\n(?: {4,}|\t).*|\n(?=\n(?: {4,}|\t)))*"),
)
# Replaced by one word each: code, a link's target, a URL.
_CODE: Final = re.compile(r"``[^`]+``|`[^`\n]*(?:\n[^`\n]*)?`")
_TARGET: Final = re.compile(r"\]\([^)\s]*\)")
_ADDRESS: Final = re.compile(r"https?://\S+")
_MARKS: Final = re.compile(r"[*_#>\[\]]|(?:^|(?<=\f))[ \t]*(?:[-+]|\d+\.) ", re.MULTILINE)
# Comments for tools, and drawings in comments.
_PRAGMA: Final = re.compile(r"#\s*(?:noqa|type:|nosec|fmt:|pragma|pyright|ruff|isort)|#!|#\s*[-=|+]{2}")
_EXAMPLE: Final = re.compile(r"^[ \t]*>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Prose:
    """The prose of a file; `line` is the line of its first character."""

    path: Path
    text: str
    line: int = 1

    def line_of(self, offset: int) -> int:
        # A form feed stands for the line break before a list item.
        return self.line + self.text.count("\n", 0, offset) + self.text.count("\f", 0, offset)


def of_markdown(path: Path) -> Prose:
    text = path.read_text(encoding="utf-8")
    for block in _BLOCKS:
        text = block.sub(_blank, text)
    # A list item or a heading is a paragraph.
    text = re.sub(r"\n(?=[ \t]*(?:[-*+]|\d+\.) )", "\f", text)
    return Prose(path, _plain(text))


@lru_cache(maxsize=1)
def _nodes(source: str) -> list[ast.AST]:
    """Return all nodes of Python code, for successive checks of one module."""
    return list(ast.walk(ast.parse(source)))


def of_python(path: Path) -> Iterator[Prose]:
    """Yield the docstrings of a module, and the texts of `help=`."""
    for node in _nodes(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield Prose(path, _docstring(first.value.value), first.lineno)
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if (
                    keyword.arg == "help"
                    and isinstance(keyword.value, ast.Constant)
                    and isinstance(keyword.value.value, str)
                ):
                    yield Prose(path, _plain(keyword.value.value), keyword.value.lineno)


@dataclass(frozen=True)
class Tokens:
    """The comments of Python code with their lines, and the first line of each name."""

    comments: list[tuple[int, str]]
    names: dict[str, int]


@cache
def tokens(source: str) -> Tokens:
    """Return the comments and names of Python code; several checks need them, and tokenizing takes long."""
    found = Tokens([], {})
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found.comments.append((token.start[0], token.string))
        elif token.type == tokenize.NAME:
            found.names.setdefault(token.string, token.start[0])
    return found


def comments(path: Path) -> Iterator[Prose]:
    """Yield the comments of a module; comments on successive lines are one text."""
    held: list[str] = []
    first = 0
    for row, comment in tokens(path.read_text(encoding="utf-8")).comments:
        if not _PRAGMA.match(comment):
            if held and row != first + len(held):
                yield Prose(path, _plain("\n".join(held)), first)
                held = []
            first = first if held else row
            held.append(comment.lstrip("#!:").strip())
    if held:
        yield Prose(path, _plain("\n".join(held)), first)


def errors(path: Path) -> Iterator[Prose]:
    """Yield the messages of the exceptions that a module raises; a value in a message is one word."""
    for node in _nodes(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args:
                text = _text_of(argument)
                if " " in text:
                    yield Prose(path, _plain(text), argument.lineno)


def _text_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text_of(part) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return ""


def _docstring(text: str) -> str:
    # Lines indented deeper than their paragraph are a drawing, a table or code.
    least = min((len(line) - len(line.lstrip()) for line in text.split("\n")[1:] if line.strip()), default=0)
    lines = _EXAMPLE.sub(_blank, text).split("\n")
    kept = [
        line if not row or len(line) - len(line.lstrip()) <= least else " " * len(line)
        for row, line in enumerate(lines)
    ]
    return _plain(re.sub(r"\n(?=[ \t]*(?:[-*+]|\d+\.) )", "\f", "\n".join(kept)))


def _plain(text: str) -> str:
    text = _CODE.sub(lambda found: re.sub(r"[^\n]", "x", found[0]), text)
    text = _TARGET.sub(lambda found: " " * len(found[0]), text)
    text = _ADDRESS.sub(lambda found: "x" * len(found[0]), text)
    return _MARKS.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph with its position."""
    start = 0
    for found in re.finditer(r"\n[ \t]*\n|\f", text):
        yield start, text[start : found.start()]
        start = found.end()
    yield start, text[start:]


# A sentence may also begin with the name of a field: "ids: int64, (n,)."
_END: Final = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z0-9x*]|\w+(?:, \w+)*:)")


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield each sentence of at least one word, with its position."""
    for start, paragraph in paragraphs(text):
        place = 0
        for found in [*_END.finditer(paragraph), None]:
            end = found.start() if found else len(paragraph)
            sentence = paragraph[place:end]
            if re.search(r"[A-Za-z]{2}", sentence):
                yield start + place + len(sentence) - len(sentence.lstrip()), " ".join(sentence.split())
            place = found.end() if found else end
