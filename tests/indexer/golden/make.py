"""Make the golden collection of the current format: `python tests/indexer/golden/make.py FOLDER`, once per format.

The committed files under format-N never change: they stand for the collections of
users of the releases with that format.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from click.testing import CliRunner
from PIL import Image

from lookalike_indexer.cli.index import index
from lookalike_indexer.collection import generations
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.lock import writing
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.stored_results import store_result
from lookalike_indexer.upkeep import fold

# The collection names this source; the tests do not need it.
PICTURES = Path("/tmp/lookalike-golden/pictures")
OPTIONS = "--model shufflenet_v2_x0_5 --weights untrained:5 --dtype float16 --part-size 4 --clusters 2 --index Flat"


def main(folder: str) -> None:
    # The last image is deleted.
    for number in range(8):
        path = PICTURES / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((40, 32)).save(path)
    (PICTURES / "a" / "broken.jpg").write_bytes(b"broken")
    done = CliRunner().invoke(
        index, [str(PICTURES), "--collection", folder, *OPTIONS.split(), "--compute", "float32", "--workers", "1"]
    )
    if done.exit_code:
        sys.exit(done.output)
    delete(Storage(folder), keys=["b/7.png"])
    _grow(Storage(folder))
    delete(Storage(folder), keys=["b/9.png"])
    result = Result("matrix", {"k": 2}, {"counts": pa.table({"count": [3, 4]})}, {"purity": 0.5}, ("Half is pure.",))
    store_result(CollectionReader.open(folder), "kept", result)


def _grow(storage: Storage) -> None:
    """Fold one more image, which the index gets as an increment."""
    manifest = generations.require_latest(storage)
    (space,) = manifest.spaces
    vector = np.random.default_rng(9).standard_normal((1, manifest.spaces[space].dim)).astype(np.float32)
    one = np.array([1000], np.int64)
    new = fold.NewImages(
        ids=one, alive=np.array([True]), keys=["b/9.png"], labels=["b"], vectors={space: vector}, formats=["PNG"],
        bytes=one, widths=one, heights=one, uris=[""],
    )  # fmt: skip
    fold.MOST_BESIDE = 0
    with writing(storage):
        fold.fold(storage, manifest, fold.Changes(0, new, {}, {}, {}))


if __name__ == "__main__":
    main(sys.argv[1])
