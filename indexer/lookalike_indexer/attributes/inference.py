"""Type inference for text columns, such as those of a CSV file, by all of their values, not the first ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lookalike_indexer.attributes.types import cast
from lookalike_indexer.collection.typed_json import TypedJson
from lookalike_indexer.errors import UsageError

# "007" is an identifier, not a number.
_INTEGER = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^(?i:nan|-?inf)$"
_BOOLEAN = r"^(?i:true|false)$"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
_LIST = r"^\s*\[.*\]\s*$"

# The first type that fits all values is used.
_PATTERNS = {"bool": _BOOLEAN, "int64": _INTEGER, "float64": _NUMBER, "timestamp": _TIME, "list<string>": _LIST}


@dataclass
class TextColumn:
    """Type inference over batches of a column; `kind` is the type that fits all values.

    `among` are the candidate types besides string.
    """

    among: tuple[str, ...] = tuple(_PATTERNS)
    _possible: list[str] = field(default_factory=list, init=False)
    _seen: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._possible = list(self.among)

    def see(self, texts: pa.Array) -> None:
        """Take some values into account; null fits every type."""
        if texts.null_count == len(texts) or not self._possible:
            self._seen = self._seen or texts.null_count < len(texts)
            return
        self._seen = True
        self._possible = [kind for kind in self._possible if _fits(texts, kind)]

    @property
    def kind(self) -> str:
        """The name of the type; "string" if no other type fits, or if there is no value."""
        return self._possible[0] if self._seen and self._possible else "string"


def from_text(texts: pa.Array, kind: str) -> pa.Array:
    """Convert an array of strings to a type. Raise pa.ArrowException or ValueError if a value does not fit.

    A list is a JSON array of strings, or strings separated by semicolons.
    """
    if kind == "string":
        return texts
    if kind == "bool":
        wrong = pc.invert(pc.match_substring_regex(texts, _BOOLEAN))
        if pc.any(wrong).as_py():
            raise ValueError(f"{_first(texts, wrong)!r} is neither true nor false")
        return pc.equal(pc.utf8_lower(texts), "true")
    if kind == "timestamp":
        return _times(texts)
    if kind == "list<string>":
        return pa.array([None if text is None else _listed(text) for text in texts.to_pylist()], pa.list_(pa.string()))
    return cast(texts, kind)


def _fits(texts: pa.Array, kind: str) -> bool:
    # Null values fit every type.
    if pc.all(pc.match_substring_regex(texts, _PATTERNS[kind])).as_py() is False:
        return False
    try:
        # For example a number of twenty digits, or February 31.
        from_text(texts, kind)
    except (pa.ArrowException, ValueError):
        return False
    return True


def _times(texts: pa.Array) -> pa.Array:
    wrong = pc.invert(pc.match_substring_regex(texts, _TIME))
    if pc.any(wrong).as_py():
        raise ValueError(f"{_first(texts, wrong)!r} is not a time such as 2026-01-31 or 2026-01-31T12:00:00Z")
    texts = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]+", r"\1")
    with_zone = pc.match_substring_regex(texts, _ZONE)
    # The end of a date looks like a zone.
    with_zone = pc.and_(with_zone, pc.greater(pc.utf8_length(texts), 10))
    local = pc.if_else(with_zone, None, texts).cast(pa.timestamp("us"))
    # Arrow reads "+02:00" and "+0200", and "Z".
    zoned = pc.if_else(with_zone, texts, None).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    return pc.coalesce(local, zoned)


_TEXTS = TypedJson(list[str])


def _listed(text: str) -> list[str]:
    if text.strip().startswith("["):
        try:
            return _TEXTS.decode(text)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{text!r} is not a list of texts") from error
    return [one.strip() for one in text.split(";") if one.strip()]


def _first(texts: pa.Array, chosen: pa.Array) -> str:
    return str(texts.filter(chosen)[0].as_py())


def converted(texts: pa.Array, kind: str, column: str, path: str) -> pa.Array:
    """Convert as `from_text`; UsageError with the column and the file if a value does not fit."""
    try:
        return from_text(texts, kind)
    except (pa.ArrowException, ValueError) as error:
        reason = (str(error).splitlines() or ["a value does not fit"])[0].rstrip(".")
        raise UsageError(
            f"The column {column} of {path} is not all {kind}: {reason}; correct it, or give --type {column}=string."
        ) from error
