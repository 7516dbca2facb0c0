"""Recursive descent parser of filters as text, with the keywords of SQL.

    filter     := term ("or" term)*
    term       := factor ("and" factor)*
    factor     := "not" factor | "(" filter ")" | predicate
    predicate  := subject [compared] | value operator subject
    compared   := operator value | ["not"] "in" "(" value ("," value)* ")" | ["not"] "between" value "and" value
                | "is" ["not"] "null" | ["not"] "has" text
    subject    := name | function ["(" [text] ")"]
    function   := "cluster" | "distance" | "predicted" | "probability"
    operator   := "=" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    value      := text | number | "true" | "false"

"and" binds tighter than "or". Keywords are case-insensitive, names are not. Texts are in single quotes, with quotes
within them doubled. Names that are not plain words are in double quotes. A subject alone is a bool column that must be
true.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from lookalike_indexer.filters.errors import FilterError, FilterPosition
from lookalike_indexer.filters.tree import (
    MIRRORED,
    MOST_BYTES,
    OPERATORS,
    AllOf,
    AnyOf,
    Assigned,
    Bound,
    Budget,
    Compare,
    Filter,
    Has,
    HasPrediction,
    In,
    InCluster,
    Not,
    Operator,
    Predicted,
    Present,
    Value,
)

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<word>[^\W\d]\w*(?:\.\w+)*)
    | (?P<sign><=|>=|<>|!=|==|[=<>(),])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
WORDS = frozenset({"and", "or", "not", "in", "between", "is", "null", "has", "true", "false"})
FUNCTIONS = ("cluster", "distance", "predicted", "probability")
# Operators of other languages, and the keyword to write instead.
_INSTEAD = {"&": "and", "|": "or", "!": "not"}
_OPERATORS_TOLD = 'use =, !=, <, <=, >, >=, in, between, has or is null, or put "and" or "or" between two conditions'
_SIGNS: dict[str, Operator] = {**{one: one for one in OPERATORS}, "<>": "!=", "==": "="}


class _Token(NamedTuple):
    """A token. `kind` is the name of a group above, or "keyword"; `value` is its value, `start` its position from 0."""

    kind: str
    value: Any
    start: int


class _Function(NamedTuple):
    """A function over images, with its argument."""

    name: str
    argument: str


class _Column(NamedTuple):
    name: str


def parse(text: str, field: str = "filter", budget: Budget | None = None, depth: int = 1) -> Filter:
    """Parse a filter's text to a tree. `field` is the path of the text in a request, `depth` its level there.

    Raise FilterError if the filter is invalid, or exceeds a limit.
    """
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise FilterError(FilterPosition(field), f"The filter's text has more than {MOST_BYTES >> 10} KiB")
    return _Parser(text, field, budget or Budget()).whole(depth)


class _Parser:
    def __init__(self, text: str, field: str, budget: Budget) -> None:
        self._text, self._field, self._budget = text, field, budget
        self._place = 0
        self._token = self._read()

    def whole(self, depth: int) -> Filter:
        if self._token.kind == "end":
            raise self._wrong("The filter is empty; leave it out, or write one such as: price < 20")
        tree = self._any(depth)
        if self._token.kind != "end":
            raise self._wrong(f'{self._token_text()} does not continue the filter; put "and" or "or" before it')
        return tree

    def _any(self, depth: int) -> Filter:
        return self._joined("or", AnyOf, self._all, depth)

    def _all(self, depth: int) -> Filter:
        return self._joined("and", AllOf, self._factor, depth)

    def _joined(self, word: str, kind: type[AllOf | AnyOf], part: Callable[[int], Filter], depth: int) -> Filter:
        first = part(depth)
        if not self._is(word):
            return first
        self._budget.node(depth, self._at())
        parts = [first]
        while self._skip(word):
            parts.append(part(depth + 1))
        return kind(tuple(parts))

    def _factor(self, depth: int) -> Filter:
        if self._is("not") or self._token.value == "(":
            # Redundant brackets count too: each is a recursion level of this parser.
            self._budget.node(depth, self._at())
        if self._skip("not"):
            return Not(self._factor(depth + 1))
        if self._skip_sign("("):
            inner = self._any(depth + 1)
            self._need_sign(")", "The bracket is not closed")
            return inner
        at = self._at()
        self._budget.node(depth, at)
        return self._predicate(at)

    def _predicate(self, at: FilterPosition) -> Filter:
        if self._is_value():
            value = self._value()
            operator = self._operator()
            return self._compare(self._subject(), MIRRORED[operator], value, at)
        subject = self._subject()
        if self._token.kind == "sign" and self._token.value in _SIGNS:
            return self._compare(subject, self._operator(), self._value(), at)
        if self._skip("is"):
            negated = self._skip("not")
            self._need("null")
            there = self._existence(subject, at)
            return there if negated else Not(there)
        negated = self._skip("not")
        found = self._compared(subject, at)
        if found is not None:
            return Not(found) if negated else found
        if negated:
            raise self._wrong(f'{self._token_text()} does not continue "not"; it is followed by in, between or has')
        if isinstance(subject, _Column):
            if self._token.kind == "word":
                raise self._wrong(f"There is no operator {self._token_text()}; {_OPERATORS_TOLD}")
            return Compare(subject.name, "=", True, at)
        raise self._wrong(f"The value to compare {subject.name} with is missing")

    def _compared(self, subject: _Column | _Function, at: FilterPosition) -> Filter | None:
        if self._skip("in"):
            return self._in(subject, self._values(at), at)
        if self._skip("between"):
            least = self._value()
            self._need("and")
            most = self._value()
            self._budget.node(1, at)
            return AllOf((self._compare(subject, ">=", least, at), self._compare(subject, "<=", most, at)))
        if self._skip("has"):
            value = self._value()
            if not isinstance(subject, _Column) or not isinstance(value, str):
                raise FilterError(at, "A column has a text, such as in: tags has 'sale'")
            return Has(subject.name, value, at)
        return None

    def _values(self, at: FilterPosition) -> tuple[Value, ...]:
        self._need_sign("(", "A list stands in brackets, such as in: label in ('cat', 'dog')")
        values = [self._value()]
        while self._skip_sign(","):
            values.append(self._value())
        self._need_sign(")", "The list is not closed")
        self._budget.values(len(values), at)
        return tuple(values)

    def _compare(self, subject: _Column | _Function, operator: Operator, value: Value, at: FilterPosition) -> Filter:
        if isinstance(subject, _Column):
            return Compare(subject.name, operator, value, at)
        name, argument = subject
        if name in ("distance", "probability"):
            if isinstance(value, (bool, str)):
                raise FilterError(at, f"A {name} is compared with a number, such as in: {name} < 0.5")
            bound = Bound(operator, float(value))
            if name == "distance":
                return InCluster(argument, distance=bound, at=at)
            return Predicted(argument, probability=bound, at=at)
        if operator not in ("=", "!="):
            raise FilterError(at, f"A {_function_text(name)} is compared with = or !=, or is in a list")
        found = self._in(subject, (value,), at)
        return found if operator == "=" else Not(found)

    def _in(self, subject: _Column | _Function, values: tuple[Value, ...], at: FilterPosition) -> Filter:
        if isinstance(subject, _Column):
            return In(subject.name, values, at)
        name, argument = subject
        if name == "cluster":
            numbers = tuple(one for one in values if isinstance(one, int) and not isinstance(one, bool))
            if len(numbers) < len(values):
                raise FilterError(at, "Clusters are whole numbers, such as in: cluster('resnet152/auto') in (3, 7)")
            return InCluster(argument, numbers, at=at)
        if name == "predicted":
            texts = tuple(one for one in values if isinstance(one, str))
            if len(texts) < len(values):
                raise FilterError(at, "Classes are texts, such as in: predicted('resnet152') = 'tabby'")
            return Predicted(argument, texts, at=at)
        raise FilterError(at, f"A {name} is compared with a number, such as in: {name} < 0.5")

    def _existence(self, subject: _Column | _Function, at: FilterPosition) -> Filter:
        if isinstance(subject, _Column):
            return Present(subject.name, at)
        if subject.name in ("cluster", "distance"):
            return Assigned(subject.argument, at)
        return HasPrediction(subject.argument, at)

    def _subject(self) -> _Column | _Function:
        token = self._token
        if token.kind == "quoted":
            self._next()
            return _Column(token.value)
        if token.kind != "word":
            raise self._wrong(f"{self._token_text()} stands where the name of a column is expected")
        self._next()
        if token.value not in FUNCTIONS:
            if self._token.value == "(" and self._token.kind == "sign":
                raise self._wrong(f"There is no function {token.value!r}; the functions are: {', '.join(FUNCTIONS)}")
            return _Column(token.value)
        argument = ""
        if self._skip_sign("("):
            if self._token.kind == "text":
                argument = self._token.value
                self._next()
            self._need_sign(")", f"{token.value} takes a name in single quotes")
        return _Function(token.value, argument)

    def _operator(self) -> Operator:
        if self._token.kind != "sign" or self._token.value not in _SIGNS:
            raise self._wrong(f"{self._token_text()} stands where =, !=, <, <=, > or >= is expected")
        found = _SIGNS[self._token.value]
        self._next()
        return found

    def _is_value(self) -> bool:
        return self._token.kind in ("number", "text") or self._is("true") or self._is("false")

    def _value(self) -> Value:
        token = self._token
        if token.kind == "word" and token.value.lower() in ("date", "timestamp"):
            # SQL writes constants of these types like this.
            self._next()
            if self._token.kind != "text":
                raise self._wrong(f"A {token.value.lower()} is followed by a text, such as '2026-01-31'")
        if not self._is_value():
            if self._is("null"):
                raise self._wrong("A comparison with null is true of nothing; write: is null")
            if self._token.kind in ("word", "quoted"):
                raise self._wrong(
                    f"{self._token_text()} is not a value; put a text in single quotes, and compare a column with "
                    "values only"
                )
            raise self._wrong(f"{self._token_text()} stands where a value is expected")
        value: Value = self._token.value
        if self._token.kind == "keyword":
            value = self._token.value == "true"
        self._next()
        return value

    def _is(self, word: str) -> bool:
        return self._token.kind == "keyword" and self._token.value == word

    def _skip(self, word: str) -> bool:
        found = self._is(word)
        if found:
            self._next()
        return found

    def _skip_sign(self, sign: str) -> bool:
        found = self._token.kind == "sign" and self._token.value == sign
        if found:
            self._next()
        return found

    def _need(self, word: str) -> None:
        if not self._skip(word):
            raise self._wrong(f'{self._token_text()} stands where "{word}" is expected')

    def _need_sign(self, sign: str, otherwise: str) -> None:
        if not self._skip_sign(sign):
            raise self._wrong(f'{otherwise}; "{sign}" is expected before {self._token_text(within=True)}')

    def _next(self) -> None:
        self._token = self._read()

    def _read(self) -> _Token:
        found = _TOKEN.match(self._text, self._place)
        if found is None or found.lastgroup is None:
            rest = self._text[self._place :].lstrip()
            self._token = _Token("wrong", rest[0], len(self._text) - len(rest))
            instead = f"; write: {_INSTEAD[rest[0]]}" if rest[0] in _INSTEAD else ""
            means = "opens a quote that is not closed" if rest[0] in "'\"" else f"means nothing here{instead}"
            raise self._wrong(f"{rest[0]!r} {means}")
        kind, said = found.lastgroup, found[found.lastgroup]
        start = found.start(kind)
        self._place = found.end()
        if kind == "number":
            return _Token(kind, self._number(said, start), start)
        if kind in ("text", "quoted"):
            quote = said[0]
            return _Token(kind, said[1:-1].replace(quote * 2, quote), start)
        if kind == "word" and said.lower() in WORDS:
            return _Token("keyword", said.lower(), start)
        return _Token(kind, said, start)

    def _number(self, said: str, start: int) -> int | float:
        if said.lstrip("-").isdecimal():
            if len(said) > 40:
                raise FilterError(
                    FilterPosition(self._field, start + 1), "A number of more than 40 digits is beyond every value"
                )
            return int(said)
        value = float(said)
        if not math.isfinite(value):
            raise FilterError(FilterPosition(self._field, start + 1), f"{said[:40]} is beyond the largest number")
        return value

    def _token_text(self, within: bool = False) -> str:
        """Return the present token, for the beginning of a sentence or, `within`, for another position."""
        if self._token.kind == "end":
            return "the end" if within else "The end"
        return repr(self._text[self._token.start : self._place][:40])

    def _at(self) -> FilterPosition:
        return FilterPosition(self._field, self._token.start + 1)

    def _wrong(self, sentence: str) -> FilterError:
        """Return an error at the present token."""
        return FilterError(self._at(), sentence)


def _function_text(function: str) -> str:
    return {"cluster": "cluster", "predicted": "predicted class"}[function]
