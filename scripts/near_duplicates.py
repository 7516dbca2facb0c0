"""Measure `lookalike duplicates` on images with variants, for the figures in docs/experiments.md.

python scripts/near_duplicates.py make IMAGES FOLDER      write images, and variants of every sixth
python scripts/near_duplicates.py report COLLECTION       precision and recall of pairs, for a collection with a graph
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.duplicates import duplicates
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.view import View

PER_CLASS, EVERY = 60, 6
KINDS = ("copy", "reencoded", "resized", "cropped", "flipped", "watermarked")
Pairs = set[tuple[int, int]]


def make(photos: Path, target: Path) -> None:
    """Write the first images of each class, and six variants of every sixth image as STEM~KIND."""
    for folder in sorted(path for path in photos.iterdir() if path.is_dir()):
        out = target / folder.name
        out.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(sorted(folder.iterdir())[:PER_CLASS]):
            (out / path.name).write_bytes(path.read_bytes())
            if number % EVERY == 0:
                _write_variants(path, out)


def _write_variants(path: Path, out: Path) -> None:
    picture = Image.open(path).convert("RGB")
    width, height = picture.size
    left, top = round(width * 0.025), round(height * 0.025)
    made = {
        "reencoded": picture,
        "resized": picture.resize((width // 2, height // 2)),
        "cropped": picture.crop((left, top, width - left, height - top)),
        "flipped": ImageOps.mirror(picture),
        "watermarked": _watermarked(picture),
    }
    for kind, variant in made.items():
        variant.save(out / f"{path.stem}~{kind}.jpg", quality=60 if kind == "reencoded" else 90)
    (out / f"{path.stem}~copy{path.suffix}").write_bytes(path.read_bytes())


def _watermarked(picture: Image.Image) -> Image.Image:
    """Return the image with a half-transparent line of text over its middle."""
    width, height = picture.size
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    text = ImageDraw.Draw(layer)
    text.text((width / 2, height / 2), "SAMPLE", (255, 255, 255, 128), font_size=width / 5, anchor="mm")
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def report(collection: str) -> None:
    """Print precision and recall of the pairs within groups, for auto and several distances."""
    view = View(CollectionReader.open(collection))
    names = [key.rpartition(".")[0].partition("~") for key in view.keys(np.arange(len(view)))]
    families: dict[str, list[int]] = {}
    for row, (stem, _, _) in enumerate(names):
        families.setdefault(stem, []).append(row)
    truth = {pair for rows in families.values() for pair in itertools.combinations(rows, 2)}
    result = duplicates(view)
    print(*result.findings, sep="\n")
    found = _pairs(view, result)
    _tell("auto", found, truth)
    for kind in KINDS:
        wanted = {pair for pair in truth if {names[row][2] for row in pair} == {"", kind}}
        print(f"  recall of an image and its variant {kind}: {len(wanted & found) / len(wanted):.3f}")
    for distance in (0.05, 0.1, 0.12, 0.15, 0.2):
        _tell(str(distance), _pairs(view, duplicates(view, max_distance=distance)), truth)


def _pairs(view: View, result: Result) -> Pairs:
    table = result.tables["images"]
    rows = view.rows_of_ids(table.column("id").to_numpy()).tolist()
    groups: dict[int, list[int]] = {}
    for row, group in zip(rows, table.column("group").to_pylist(), strict=True):
        groups.setdefault(group, []).append(row)
    return {pair for rows in groups.values() for pair in itertools.combinations(sorted(rows), 2)}


def _tell(name: str, found: Iterable[tuple[int, int]], truth: Pairs) -> None:
    pairs = set(found)
    precision, recall = len(pairs & truth) / max(1, len(pairs)), len(pairs & truth) / len(truth)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    print(f"{name}: {len(pairs)} pairs, precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        report(sys.argv[2])
