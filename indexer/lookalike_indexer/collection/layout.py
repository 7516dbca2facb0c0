"""Paths of a collection's files, relative to its root.

    generations/000001.json                     manifest of a generation
    source/part-000000.parquet                  listing of the source: the images to embed
    images/part-000000.parquet                  images that could be decoded
    rejects/<model>/part-000000.parquet         files that could not be decoded, with the reason
    embeddings/<space>/part-000000.parquet
    predictions/<model>/part-000000.parquet
    models/<model>/<file>                       files that exist nowhere else, such as calibrated batch norms
    models/<model>/class-names.<digest>.json    the names of its classes, a list of strings
    clusterings/<space>/<name>/<digest>/        centroids.parquet, assignments/part-000000.parquet; whitening.parquet
    attributes/<table>/<digest>/part-000000.parquet   attributes that users attached to the images
    tombstones/<digest>.parquet                 the ids of deleted images
    graphs/<space>/<digest>/part-000000.parquet  the nearest neighbors of each image
    indexes/<space>/<digest>.faiss               an index; beside it a .json with its measurements
    indexes/<space>/<digest>.ids.parquet         the image of each of its rows
    indexes/<space>/<digest>.increment.npz       rows that an index gained, with a .json
    indexes/<space>/<digest>.choice.json         the index types that were tried
    results/<kind>/<name>/<digest>/<table>.parquet   results of experiments

Part N of every table covers the same rows of the source listing, so that tables join part by part. A part that replaces
another of the same number is called part-000000.<digest>.parquet; the manifest lists the valid one.

    lists/<digest>.json                          long sequences of parts; see encoding.py
    work/<model>/part-000000.<digest>.json       revised parts that are not published yet
"""

from __future__ import annotations

import re

from lookalike_indexer.errors import UsageError

GENERATIONS = "generations"
SOURCE = "source"
IMAGES = "images"
WORK = "work"
# The suffix of the files with rows that indexes gained.
INCREMENT = ".increment.npz"
_CLASS_NAMES = "class-names."

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")


def checked_name(name: str, what: str) -> str:
    """Return `name` if it can be a folder's name; UsageError otherwise. `what` is the kind of thing it names."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of {_article(what)} {what}: use up to 128 letters, digits and . _ - + @, "
            "beginning with a letter or digit."
        )
    return name


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def part_name(part: int) -> str:
    return f"part-{part:06d}.parquet"


def part_number(path: str) -> int:
    """Return the number in a part's file name."""
    return int(path.rsplit("part-", 1)[1].partition(".")[0])


def revised(path: str, digest: str) -> str:
    """Return the path of a part that replaces the one at `path`, which may be a revised one, under the same number."""
    folder, name = path.rsplit("/", 1)
    return f"{folder}/{name.partition('.')[0]}.{digest[:16]}.parquet"


def is_first(path: str) -> bool:
    """Return whether a part is the first one of its number, rather than a revised one."""
    return path.rsplit("/", 1)[-1].count(".") == 1


def revision_record(model: str, part: int, digest: str) -> str:
    """Return the path of the record that lists the files of a part's revision, until it is published."""
    return f"{WORK}/{model}/part-{part:06d}.{digest[:16]}.json"


def generation(number: int) -> str:
    return f"{GENERATIONS}/{number:06d}.json"


def source(part: int) -> str:
    return f"{SOURCE}/{part_name(part)}"


def images(part: int) -> str:
    return f"{IMAGES}/{part_name(part)}"


def rejects(model: str, part: int) -> str:
    return f"rejects/{model}/{part_name(part)}"


def embeddings(space: str, part: int) -> str:
    return f"embeddings/{space}/{part_name(part)}"


def predictions(model: str, part: int) -> str:
    return f"predictions/{model}/{part_name(part)}"


def model_file(model: str, file: str) -> str:
    return f"models/{model}/{file}"


def class_names(model: str, digest: str) -> str:
    """Return the path of the names of a model's classes; their digest distinguishes runs."""
    return f"models/{model}/{_CLASS_NAMES}{digest[:16]}.json"


def is_class_names(path: str) -> bool:
    """Return whether a model's file holds class names."""
    return path.rsplit("/", 1)[-1].startswith(_CLASS_NAMES)


def revised_model_file(path: str, digest: str) -> str:
    """Return a path beside `path`, which another model of the same name left."""
    stem, dot, suffix = path.rpartition(".")
    return f"{stem}.{digest[:16]}{dot}{suffix}"


def clustering(space: str, name: str, digest: str) -> str:
    """Return the folder of a clustering."""
    return f"clusterings/{space}/{name}/{digest[:16]}"


def attributes(table: str, digest: str, part: int) -> str:
    return f"attributes/{table}/{digest[:16]}/{part_name(part)}"


def tombstones(digest: str) -> str:
    return f"tombstones/{digest[:32]}.parquet"


def graph(space: str, digest: str, part: int) -> str:
    return f"graphs/{space}/{digest[:16]}/{part_name(part)}"


def index(space: str, digest: str) -> str:
    return f"indexes/{space}/{digest[:16]}.faiss"


def increment(space: str, digest: str) -> str:
    return f"indexes/{space}/{digest[:16]}{INCREMENT}"


def choice(space: str, digest: str) -> str:
    return f"indexes/{space}/{digest[:16]}.choice.json"


def index_record(index: str) -> str:
    """Return the path of an index's measurements before it is published, beside the index."""
    return index.removesuffix(INCREMENT).removesuffix(".faiss") + ".json"


def index_ids(index: str) -> str:
    """Return the path of the ids of an index's rows, beside the index."""
    return index.removesuffix(".faiss") + ".ids.parquet"


def result(kind: str, name: str, digest: str, table: str) -> str:
    return f"results/{kind}/{name}/{digest[:16]}/{table}.parquet"
