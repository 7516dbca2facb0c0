"""Validation of queries, and their conversion to messages."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt

from lookalike import wire
from lookalike._arguments import Errors
from lookalike._errors import InvalidArgumentError
from lookalike._images import Picture, is_single, picture_bytes
from lookalike.v1 import types_pb2

_INT64: Final = np.iinfo(np.int64)
_INT32_MAX: Final = 2**31 - 1
# Arguments that go with a query but are no query.
_WITH: Final = ("fingerprint", "box", "boxes")
# The smallest normal float32: vectors with a smaller norm have lost precision.
_LEAST_NORM: Final = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Query:
    """A batch for the wire; `single` is True if the caller passed one query and expects one result.

    `undirected` is the first row whose vector has no direction; None if every vector has one.
    `failed` has the reason for each image that cannot be sent, by row; None with errors="raise".
    """

    batch: types_pb2.QueryBatch
    single: bool
    undirected: int | None = None
    failed: Mapping[int, str] | None = None


def query(given: Mapping[str, Any], errors: Errors = "raise") -> Query:
    """Build the query of the arguments `given`, those of OneQuery or of ManyQueries.

    TypeError: an unknown argument. InvalidArgumentError: not exactly one kind of query, or an invalid one.
    """
    name = only_given({key: value for key, value in given.items() if key not in _WITH}, _KINDS)
    batch = types_pb2.QueryBatch()
    failed: dict[int, str] | None = None
    if not _by_row(errors, name):
        _KINDS[name](batch, given[name])
    elif name == "images":
        failed = _add_images(batch, given[name], by_row=True)
    else:
        _KINDS[name](batch, given[name])
        failed = {}
    fingerprint = given.get("fingerprint")
    if fingerprint:
        if not name.startswith("vector"):
            raise InvalidArgumentError(
                "fingerprint= tells the space of vectors; it goes with vector= or vectors= only."
            )
        batch.vectors.space_fingerprint = fingerprint
    _add_boxes(batch, given, name)
    undirected = _undirected(wire.decode(batch.vectors.values)) if name.startswith("vector") else None
    # With errors="rows", the server reports the vectors without a direction.
    return Query(batch, not name.endswith("s"), undirected if failed is None else None, failed)


def _add_boxes(batch: types_pb2.QueryBatch, given: Mapping[str, Any], name: str) -> None:
    """Add the boxes of images; InvalidArgumentError if the query is no image."""
    box, boxes = given.get("box"), given.get("boxes")
    if box is None and boxes is None:
        return
    if (box is not None) != (name == "image") or (boxes is not None) != (name == "images"):
        raise InvalidArgumentError("box= goes with image=, and boxes= with images=.")
    listed = [box] if boxes is None else several("boxes", boxes)
    if len(listed) != len(batch.images.data):
        raise InvalidArgumentError(f"boxes= has {len(listed)} boxes for {len(batch.images.data)} images.")
    for one in listed:
        batch.images.boxes.append(_box(one))


def _box(box: object) -> types_pb2.Box:
    """Convert a box; None, the whole image, becomes a box without a size."""
    if box is None:
        return types_pb2.Box()
    numbers = [as_int(one) for one in box] if isinstance(box, Iterable) and not isinstance(box, str) else []
    if len(numbers) != 4 or any(one is None or not 0 <= one <= _INT32_MAX for one in numbers) or 0 in numbers[2:]:
        raise InvalidArgumentError(
            f"A box is (x, y, width, height) in pixels of the upright image, with a width and height of at least 1, "
            f"not {box!r}."
        )
    x, y, width, height = (one or 0 for one in numbers)
    return types_pb2.Box(x=x, y=y, width=width, height=height)


def only_given(given: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the one of `names` that is given and not None.

    TypeError: an argument that is none of them. InvalidArgumentError: none or several are given.
    """
    listed = ", ".join(names)
    for unknown in given.keys() - set(names):
        raise TypeError(f"unexpected argument {unknown!r}; what is asked about is one of {listed}")
    there = [name for name, value in given.items() if value is not None]
    if len(there) != 1:
        problem = f"not {' and '.join(there)} together" if there else "none was given"
        raise InvalidArgumentError(f"Pass exactly one of {listed}; {problem}.")
    return there[0]


def check_key(key: object) -> str:
    """Return the key; InvalidArgumentError if it is no str or no valid Unicode."""
    if not isinstance(key, str):
        raise InvalidArgumentError(f"A key must be a str, not {key!r}.")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"The key {key!r} is not valid Unicode.") from error
    return key


def check_id(image_id: object) -> int:
    """Return the id; InvalidArgumentError if it is no 64-bit integer."""
    number = as_int(image_id)
    if number is None or not _INT64.min <= number <= _INT64.max:
        raise InvalidArgumentError(f"An id must be a 64-bit integer, not {image_id!r}.")
    return number


def as_int(value: object) -> int | None:
    """Convert a Python or numpy integer to int; None for any other value, including bool."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array, which has the method but is no integer
        return None


def several(name: str, values: object) -> list[Any]:
    """Return the values of a plural argument as a list; InvalidArgumentError if it is empty or a single value."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"{name}= takes a sequence; for a single one use {name.removesuffix('s')}=.")
    listed = list(values)
    if not listed:
        raise InvalidArgumentError(f"{name}= is empty; at least one is needed.")
    return listed


def _add_key(batch: types_pb2.QueryBatch, key: object) -> None:
    batch.keys.values.append(check_key(key))


def _add_keys(batch: types_pb2.QueryBatch, keys: object) -> None:
    batch.keys.values.extend(check_key(key) for key in several("keys", keys))


def _add_id(batch: types_pb2.QueryBatch, image_id: object) -> None:
    batch.ids.values.append(check_id(image_id))


def _add_ids(batch: types_pb2.QueryBatch, ids: object) -> None:
    batch.ids.values.extend(check_id(image_id) for image_id in several("ids", ids))


def _add_image(batch: types_pb2.QueryBatch, image: Picture) -> None:
    batch.images.data.append(picture_bytes(image))


def _by_row(errors: object, name: str) -> bool:
    """Return True for errors="rows"; InvalidArgumentError for other values, and for single queries."""
    if errors not in get_args(Errors):
        raise InvalidArgumentError(f"errors={errors!r} must be 'raise' or 'rows'.")
    if errors == "rows" and not name.endswith("s"):
        raise InvalidArgumentError(f"errors='rows' is about the rows of a batch; it does not go with {name}=.")
    return errors == "rows"


def _add_images(batch: types_pb2.QueryBatch, images: object, by_row: bool = False) -> dict[int, str]:
    """Add images. With `by_row`, add an empty image for each one that cannot be sent, and return the reasons by row."""
    if is_single(images):
        raise InvalidArgumentError("images= takes a sequence of images; for a single one use image=.")
    failed: dict[int, str] = {}
    for row, image in enumerate(several("images", images)):
        try:
            batch.images.data.append(picture_bytes(image))
        except InvalidArgumentError as error:
            sentence = f"Image {row}: {error}"
            if not by_row:
                raise InvalidArgumentError(sentence) from error
            failed[row] = sentence
            batch.images.data.append(b"")
    return failed


def _add_text(batch: types_pb2.QueryBatch, text: object) -> None:
    batch.texts.values.append(_check_text(text))


def _add_texts(batch: types_pb2.QueryBatch, texts: object) -> None:
    batch.texts.values.extend(_check_text(text) for text in several("texts", texts))


def _check_text(text: object) -> str:
    """Return the text; InvalidArgumentError if it has no word or is no valid Unicode."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgumentError(f"A text must be a str with a word, not {text!r}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"The text {text!r} is not valid Unicode.") from error
    return text


def _add_vector(batch: types_pb2.QueryBatch, vector: npt.ArrayLike) -> None:
    batch.vectors.values.CopyFrom(wire.encode(floats("vector", vector, 1)[np.newaxis]))


def _add_vectors(batch: types_pb2.QueryBatch, vectors: npt.ArrayLike) -> None:
    batch.vectors.values.CopyFrom(wire.encode(floats("vectors", vectors, 2)))


_KINDS: Final[dict[str, Callable[[types_pb2.QueryBatch, Any], object]]] = {
    "key": _add_key,
    "keys": _add_keys,
    "id": _add_id,
    "ids": _add_ids,
    "image": _add_image,
    "images": _add_images,
    "vector": _add_vector,
    "vectors": _add_vectors,
    "text": _add_text,
    "texts": _add_texts,
}


def _undirected(vectors: npt.NDArray[Any]) -> int | None:
    """Return the first row of vectors (n, dim) whose norm is zero or below normal float32; None without one."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64, casting="unsafe"))
    rows = np.flatnonzero(norms < _LEAST_NORM)
    return int(rows[0]) if len(rows) else None


def floats(name: str, values: npt.ArrayLike, dimensions: int) -> npt.NDArray[Any]:
    """Return `values` as an array of float32, or float16 if it is that; check that it is finite and its dimensions."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # torch tensors that are elsewhere or have a gradient too
        raise InvalidArgumentError(f"{name}= is not an array: {error}.") from error
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InvalidArgumentError(f"{name}= is an array of {array.dtype}; embeddings are float32, float16 or float64.")
    if array.ndim != dimensions:
        expected = "(dim,): for several use vectors=" if dimensions == 1 else "(n, dim): for a single one use vector="
        raise InvalidArgumentError(f"{name}= has the shape {array.shape}; it must be {expected}.")
    if not array.size:
        raise InvalidArgumentError(f"{name}= is empty: it has the shape {array.shape}.")
    if array.dtype == np.float64:
        with np.errstate(over="ignore", under="ignore"):
            array = array.astype(np.float32)
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0]) if dimensions == 2 else None
        where = "" if row is None else f" in row {row}"
        raise InvalidArgumentError(f"{name}= has a value that is NaN, infinite or beyond float32{where}.")
    return array
