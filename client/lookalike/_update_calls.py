"""Remote calls that change a served collection, as pairs of request and reply parser; see _calls.py."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lookalike import wire
from lookalike._calls import Call, Result, make_call
from lookalike._changes import After, Deleted, Described, Folded, NewPictures, NewVectors, Restored, Upserted, Values
from lookalike._errors import InvalidArgumentError
from lookalike._filters import Where, message_of
from lookalike._images import picture_bytes
from lookalike._queries import as_int, check_id, check_key, floats, several
from lookalike.v1 import filter_pb2, update_pb2

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def upsert(
    images: NewPictures | None,
    vectors: NewVectors | None,
    labels: Mapping[str, str] | None,
    attributes: Mapping[str, Values] | None,
    fingerprint: str | None,
) -> Call[Upserted]:
    given = images if images is not None else vectors
    if given is None or (images is not None and vectors is not None):
        raise InvalidArgumentError("Pass exactly one of images= and vectors=.")
    if not isinstance(given, Mapping) or not given:
        raise InvalidArgumentError("images= and vectors= take a mapping from keys, with at least one key.")
    keys = [check_key(key) for key in given]
    request = update_pb2.UpsertRequest(keys=keys)
    if images is not None:
        if fingerprint:
            raise InvalidArgumentError("fingerprint= tells the space of vectors; it goes with vectors= only.")
        for key, picture in images.items():
            try:
                request.images.append(picture_bytes(picture))
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"The image of {key!r}: {error}") from error
    elif vectors is not None:
        request.vectors.extend(_vectors(vectors, fingerprint))
    _check_known("labels", labels, keys)
    _check_known("attributes", attributes, keys)
    if labels:
        request.labels.extend(_label(labels.get(key, "")) for key in keys)
    if attributes:
        request.attributes.extend(_columns([attributes.get(key, {}) for key in keys]))

    def parse(reply: update_pb2.UpsertResponse) -> Upserted:
        ids = wire.decode(reply.ids)
        if ids.shape != (len(keys),):
            raise ValueError(f"{len(keys)} keys have ids of shape {ids.shape}")
        rejects = {keys[reject.row]: reject.message for reject in reply.rejects}
        return Upserted(tuple(keys), ids, reply.sequence, reply.replaced, rejects)

    return _changing(make_call("lookalike.v1.UpdateService/Upsert", request, update_pb2.UpsertResponse, parse))


def delete(keys: Sequence[str] | None, where: Where | None) -> Call[Deleted]:
    if (keys is None) == (where is None):
        raise InvalidArgumentError("Pass exactly one of keys= and where=.")
    request = update_pb2.DeleteRequest(filter=message_of(where))
    if keys is not None:
        request.keys.extend(check_key(key) for key in several("keys", keys))

    def parse(reply: update_pb2.DeleteResponse) -> Deleted:
        return Deleted(reply.deleted, reply.unknown, reply.sequence)

    return _changing(make_call("lookalike.v1.UpdateService/Delete", request, update_pb2.DeleteResponse, parse))


def restore(ids: Sequence[int]) -> Call[Restored]:
    request = update_pb2.RestoreRequest()
    request.ids.CopyFrom(wire.encode(np.array([check_id(one) for one in ids], np.int64)))

    def parse(reply: update_pb2.RestoreResponse) -> Restored:
        return Restored(reply.restored, reply.unknown, reply.sequence)

    return _changing(make_call("lookalike.v1.UpdateService/Restore", request, update_pb2.RestoreResponse, parse))


def describe(keys: Sequence[str], label: str | None, attributes: Values | None) -> Call[Described]:
    if label is None and not attributes:
        raise InvalidArgumentError("Nothing is set; give label= or attributes=.")
    request = update_pb2.SetRequest(keys=[check_key(key) for key in several("keys", keys)])
    if label is not None:
        request.label = _label(label)
    if attributes:
        request.attributes.extend(_columns([attributes]))
    reply = update_pb2.SetResponse
    return _changing(make_call("lookalike.v1.UpdateService/Set", request, reply, lambda got: Described(got.sequence)))


def fold() -> Call[Folded]:
    request, reply = update_pb2.FoldRequest(), update_pb2.FoldResponse
    call = make_call(
        "lookalike.v1.UpdateService/Fold", request, reply, lambda got: Folded(got.generation, got.sequence)
    )
    return _changing(call)


def sequence_of(after: After) -> int:
    """Return the sequence number of a change; 0 for None."""
    if after is None:
        return 0
    number = after.sequence if isinstance(after, (Upserted, Deleted, Restored, Described)) else as_int(after)
    if number is None or number < 0:
        raise InvalidArgumentError(f"after={after!r} must be what a change returned, or its sequence.")
    return number


def _changing(call: Call[Result]) -> Call[Result]:
    """Mark a call as one that needs the role write; the user of a server without tokens has that role."""
    return dataclasses.replace(call, needs_admin=True)


def _vectors(vectors: NewVectors, fingerprint: str | None) -> list[update_pb2.SpaceVectors]:
    """Build the vectors of all keys, space by space."""
    by_space: dict[str, list[Any]] = {}
    for key, given in vectors.items():
        spaces = given if isinstance(given, Mapping) else {"": given}
        for space, vector in spaces.items():
            by_space.setdefault(space, []).append(floats(f"vectors[{key!r}]", vector, 1))
    found = []
    for space, rows in by_space.items():
        if len(rows) != len(vectors) or len({row.shape for row in rows}) > 1:
            named = f" in the space {space}" if space else ""
            raise InvalidArgumentError(f"vectors= must have one vector of equal length for each key{named}.")
        message = update_pb2.SpaceVectors(space=space)
        message.vectors.values.CopyFrom(wire.encode(np.stack(rows)))
        message.vectors.space_fingerprint = fingerprint or ""
        found.append(message)
    return found


def _check_known(name: str, given: Mapping[str, Any] | None, keys: Sequence[str]) -> None:
    if given is not None and not isinstance(given, Mapping):
        raise InvalidArgumentError(
            f"{name}= takes a mapping from keys, such as {{{keys[0]!r}: ...}}, not {given!r:.50}."
        )
    unknown = [] if given is None else sorted(given.keys() - set(keys))
    if unknown:
        raise InvalidArgumentError(f"{name}= has the key {unknown[0]!r}, which is not among those of the images.")


def _label(label: object) -> str:
    if not isinstance(label, str):
        raise InvalidArgumentError(f"A label must be a str, not {label!r}; an empty one means none.")
    return label


def _columns(rows: Sequence[Values]) -> list[filter_pb2.AttributeValues]:
    """Convert the values of rows to columns typed by their values."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [_column(name, [row.get(name) for row in rows]) for name in names]


def _column(name: object, values: Sequence[Any]) -> filter_pb2.AttributeValues:
    if not isinstance(name, str):
        raise InvalidArgumentError(f"attributes= takes the names of columns, not {name!r}.")
    kinds = {_kind(name, value) for value in values if value is not None}
    if kinds == {"int64", "float64"}:
        kinds = {"float64"}
    if len(kinds) > 1:
        raise InvalidArgumentError(f"The attribute {name!r} has values of several types: {', '.join(sorted(kinds))}.")
    kind = next(iter(kinds), "string")
    found = filter_pb2.AttributeValues(name=name, type=kind)
    nulls = [place for place, value in enumerate(values) if value is None]
    if nulls:
        found.nulls.CopyFrom(wire.encode(np.array(nulls, np.int64)))
    if kind == "string":
        found.texts.extend("" if value is None else value for value in values)
    elif kind == "list<string>":
        found.texts.extend(text for value in values for text in value or ())
        ends = np.cumsum([0, *(len(value or ()) for value in values)])
        found.offsets.CopyFrom(wire.encode(ends.astype(np.int64)))
    else:
        dtype = {"bool": np.bool_, "float64": np.float64}.get(kind, np.int64)
        numbers = [0 if value is None else _microseconds(value) if kind == "timestamp" else value for value in values]
        try:
            found.numbers.CopyFrom(wire.encode(np.array(numbers, dtype)))
        except OverflowError as error:
            raise InvalidArgumentError(f"The attribute {name!r} has a value beyond 64 bits.") from error
    return found


def _kind(name: str, value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    if isinstance(value, (int, np.integer)):
        return "int64"
    if isinstance(value, (float, np.floating)):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dt.datetime):
        return "timestamp"
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return "list<string>"
    raise InvalidArgumentError(
        f"The attribute {name!r} has the value {value!r}; it takes bool, int, float, str, datetime or a list of str."
    )


def _microseconds(value: dt.datetime) -> int:
    """Return microseconds since 1970 in UTC; a time without a zone is taken as UTC."""
    time = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    return (time - _EPOCH) // dt.timedelta(microseconds=1)
