"""Write the WordNet hypernyms of the 1,000 ImageNet classes as the table for names of clusters.

    python scripts/imagenet_tree.py WORDNET/data.noun CLASSES.csv > imagenet_tree.txt

`data.noun` is WordNet 3.0's (Debian's package wordnet-base has it). The CSV file
has the columns `index` and `wnid`, the WordNet number of each class. The parent is the
first hypernym in WordNet, so that the result is a tree. The table begins with
WordNet's license, which permits copies.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

_SOURCE = """\
The hypernyms of the 1,000 ImageNet classes, from WordNet 3.0's data.noun by scripts/imagenet_tree.py. Each line,
by tabs: the WordNet number, its parent's, the index of the class or nothing, and its synonyms, divided by semicolons.
"""


def main(nouns: Path, classes: Path) -> None:
    """Print the license, then the table, parents before children."""
    words, parents, license_lines = _read(nouns)
    with classes.open(encoding="utf-8") as file:
        index_of = {line["wnid"].removeprefix("n"): line["index"] for line in csv.DictReader(file)}
    for line in [*_SOURCE.splitlines(), *license_lines]:
        print(f"# {line}".rstrip())
    kept = {node for leaf in index_of for node in _upwards(leaf, parents)}
    for node in sorted(kept, key=lambda node: (sum(1 for _ in _upwards(node, parents)), node)):
        print(node, parents[node], index_of.get(node, ""), ";".join(words[node]), sep="\t")


def _read(nouns: Path) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """Return the synonyms and the first hypernym of each noun, and the lines of the license."""
    words: dict[str, list[str]] = {}
    parents: dict[str, str] = {}
    license_lines = []
    for line in nouns.read_text("utf-8").splitlines():
        if line.startswith(" "):
            license_lines.append(line.strip().partition(" ")[2])
            continue
        fields = line.partition(" | ")[0].split()
        node, count = fields[0], int(fields[3], 16)
        words[node] = [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]
        pointers = fields[5 + 2 * count :]
        above = [pointers[at + 1] for at in range(0, len(pointers), 4) if pointers[at] in ("@", "@i")]
        parents[node] = above[0] if above else ""
    return words, parents, license_lines


def _upwards(node: str, parents: dict[str, str]) -> Iterator[str]:
    while node:
        yield node
        node = parents[node]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/imagenet_tree.py WORDNET/data.noun CLASSES.csv")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
