"""What is asked about, checked before it goes on the wire."""

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
from lookalike._pictures import Picture, is_single, picture_bytes
from lookalike.v1 import types_pb2

_INT64: Final = np.iinfo(np.int64)
_INT32_MAX: Final = 2**31 - 1
# What goes with a query, and is none.
_WITH: Final = ("fingerprint", "box", "boxes")
# The least normal float32: shorter vectors have lost their digits.
_LEAST_NORM: Final = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Query:
    """A batch on the wire, and whether the caller gave a single query and wants a single result.

    `undirected` is the first row whose vector has no direction; None where each has one.
    `failed` says which pictures cannot be sent, and why; None where errors are not wanted by row.
    """

    batch: types_pb2.QueryBatch
    single: bool
    undirected: int | None = None
    failed: Mapping[int, str] | None = None


def query(given: Mapping[str, Any], errors: Errors = "raise") -> Query:
    """The query of the arguments `given`, which are those of OneQuery or of ManyQueries.

    TypeError: an argument that there is not. InvalidArgumentError: not exactly
    one query, or one that cannot be.
    """
    name = chosen({key: value for key, value in given.items() if key not in _WITH}, _KINDS)
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
    # By row, the server tells which have no direction.
    return Query(batch, not name.endswith("s"), undirected if failed is None else None, failed)


def _add_boxes(batch: types_pb2.QueryBatch, given: Mapping[str, Any], name: str) -> None:
    """The parts of pictures that are asked about; InvalidArgumentError where there is no picture."""
    box, boxes = given.get("box"), given.get("boxes")
    if box is None and boxes is None:
        return
    if (box is not None) != (name == "image") or (boxes is not None) != (name == "images"):
        raise InvalidArgumentError("box= goes with image=, and boxes= with images=.")
    listed = [box] if boxes is None else several("boxes", boxes)
    if len(listed) != len(batch.images.data):
        raise InvalidArgumentError(f"boxes= has {len(listed)} boxes for {len(batch.images.data)} pictures.")
    for one in listed:
        batch.images.boxes.append(_box(one))


def _box(box: object) -> types_pb2.Box:
    """A box on the wire; one without a size for None, which means the whole picture."""
    if box is None:
        return types_pb2.Box()
    numbers = [as_int(one) for one in box] if isinstance(box, Iterable) and not isinstance(box, str) else []
    if len(numbers) != 4 or any(one is None or not 0 <= one <= _INT32_MAX for one in numbers) or 0 in numbers[2:]:
        raise InvalidArgumentError(
            f"A box is (x, y, width, height) in pixels of the upright picture, with a width and height of at least 1, "
            f"not {box!r}."
        )
    x, y, width, height = (one or 0 for one in numbers)
    return types_pb2.Box(x=x, y=y, width=width, height=height)


def chosen(given: Mapping[str, Any], names: Iterable[str]) -> str:
    """Which one of `names` is given and not None.

    TypeError: an argument that is none of them. InvalidArgumentError: none or several.
    """
    listed = ", ".join(names)
    for unknown in given.keys() - set(names):
        raise TypeError(f"unexpected argument {unknown!r}; what is asked about is one of {listed}")
    there = [name for name, value in given.items() if value is not None]
    if len(there) != 1:
        problem = f"not {' and '.join(there)} together" if there else "none was given"
        raise InvalidArgumentError(f"Exactly one of {listed} says what is asked about; {problem}.")
    return there[0]


def check_key(key: object) -> str:
    """A key that can be sent; InvalidArgumentError otherwise."""
    if not isinstance(key, str):
        raise InvalidArgumentError(f"A key must be a str, not {key!r}.")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"The key {key!r} is not valid Unicode.") from error
    return key


def check_id(image_id: object) -> int:
    """An id that can be sent; InvalidArgumentError otherwise."""
    number = as_int(image_id)
    if number is None or not _INT64.min <= number <= _INT64.max:
        raise InvalidArgumentError(f"An id must be a 64-bit integer, not {image_id!r}.")
    return number


def as_int(value: object) -> int | None:
    """The integer that `value` is, of Python or numpy; None when it is something else, bool included."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array that has the method, and does not mean it
        return None


def several(name: str, values: object) -> list[Any]:
    """The values of a plural argument; InvalidArgumentError when there are none, or it is a single one."""
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
    """Whether errors are wanted by row; InvalidArgumentError where they cannot be."""
    if errors not in get_args(Errors):
        raise InvalidArgumentError(f"errors={errors!r} must be 'raise' or 'rows'.")
    if errors == "rows" and not name.endswith("s"):
        raise InvalidArgumentError(f"errors='rows' is about the rows of a batch; it does not go with {name}=.")
    return errors == "rows"


def _add_images(batch: types_pb2.QueryBatch, images: object, by_row: bool = False) -> dict[int, str]:
    """Add pictures; with `by_row`, an empty one takes the place of each that cannot be sent, and its error is told."""
    if is_single(images):
        raise InvalidArgumentError("images= takes a sequence of pictures; for a single one use image=.")
    failed: dict[int, str] = {}
    for row, image in enumerate(several("images", images)):
        try:
            batch.images.data.append(picture_bytes(image))
        except InvalidArgumentError as error:
            sentence = f"Picture {row}: {error}"
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
    """A text that can be sent; InvalidArgumentError otherwise."""
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
    """The first row of vectors (n, dim) that is zero, or so small that its norm is below float32; None mostly."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64, casting="unsafe"))
    rows = np.flatnonzero(norms < _LEAST_NORM)
    return int(rows[0]) if len(rows) else None


def floats(name: str, values: npt.ArrayLike, dimensions: int) -> npt.NDArray[Any]:
    """The array of `values` as float32, or as float16 when it is that; finite, and of so many dimensions."""
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
