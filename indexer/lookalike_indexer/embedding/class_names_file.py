"""Reader of `--class-names`: the class names of a custom network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lookalike_indexer.embedding.classes import imagenet_names
from lookalike_indexer.errors import UsageError

IMAGENET = "imagenet"
# The names of a million classes are smaller.
_MOST_BYTES = 64 << 20


def read_class_names(text: str) -> list[str]:
    """Return the names of classes by index: ImageNet's for "imagenet", else those of a file.

    The file is text with a line for each class, or JSON: a list of names, or an object of names by index ("0" to the
    last). A name may be a list, such as ["n01440764", "tench"], whose last string is used. An object of indexes by
    name, as torchvision's `class_to_idx`, is accepted too. Raise UsageError if the file cannot be read, or has another
    form.
    """
    if text == IMAGENET:
        return list(imagenet_names())
    path = Path(text)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"--class-names {path} has more than {_MOST_BYTES >> 20} MiB; give a file of names alone.")
        content = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"--class-names {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--class-names {path} is not a text in UTF-8: {error.reason}.") from error
    names = _of_json(path, content) if content.lstrip()[:1] in ("[", "{") else content.splitlines()
    return [_checked(path, index, name) for index, name in enumerate(names)]


def check_count(names: list[str], classes: int, model: str, option: str = "--class-names") -> None:
    """Raise UsageError unless there is one name for each of a model's classes."""
    if not classes:
        raise UsageError(f"{option}: the weights of {model} have no classifier, so leave it out.")
    if len(names) != classes:
        raise UsageError(
            f"{option} has {len(names):,} names, but {model} has {classes:,} classes; give one name for each class."
        )


def _of_json(path: Path, content: str) -> list[Any]:
    try:
        data = json.loads(content)
    except ValueError as error:
        if content.lstrip().startswith("{"):
            raise UsageError(f"--class-names {path} is not JSON: {error}.") from error
        return content.splitlines()  # text whose first name begins with a bracket
    except RecursionError as error:
        raise UsageError(f"--class-names {path} is nested too deeply; give a list of names.") from error
    if isinstance(data, dict):
        is_by_name = bool(data) and all(type(value) is int for value in data.values())
        by_index = {str(index): name for name, index in data.items()} if is_by_name else data
        missing = next((str(index) for index in range(len(data)) if str(index) not in by_index), None)
        if missing is not None:
            raise UsageError(f'--class-names {path} has {len(data):,} names, and none of index "{missing}".')
        return [by_index[str(index)] for index in range(len(data))]
    return list(data)


def _checked(path: Path, index: int, name: Any) -> str:
    if isinstance(name, list) and name:
        name = name[-1]
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"--class-names {path} has no name for class {index}: give a text that is not empty.")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"--class-names {path} has a name for class {index} that is not valid Unicode.") from error
    return name.strip()
