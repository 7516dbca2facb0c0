"""ImageNet's classes in WordNet's tree of hypernyms: the meanings above a class, and the classes below a meaning.

The table `imagenet_tree.txt` beside this module is made from WordNet 3.0 by `scripts/imagenet_tree.py` (Miller:
WordNet, a lexical database for English, 1995). Each node has one parent, the first hypernym that WordNet gives.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from lookalike_indexer.experiments.word_vectors import plain

_WNID = re.compile(r"^n(\d{8})(?=$|[_ -])")
# Meanings that structure WordNet, but do not describe the content of an image.
_EMPTY = frozenset(
    {
        "abstraction",
        "act",
        "activity",
        "area",
        "article",
        "artifact",
        "attribute",
        "body",
        "causal agent",
        "chordate",
        "commodity",
        "communication",
        "consumer goods",
        "conveyance",
        "covering",
        "creation",
        "device",
        "diapsid",
        "durables",
        "entity",
        "equipment",
        "event",
        "facility",
        "group",
        "implement",
        "instrumentality",
        "line",
        "living thing",
        "location",
        "matter",
        "measure",
        "mechanism",
        "natural object",
        "object",
        "organism",
        "part",
        "physical entity",
        "placental",
        "psychological feature",
        "region",
        "shape",
        "signal",
        "solid",
        "spermatophyte",
        "structure",
        "substance",
        "surface",
        "system",
        "thing",
        "unit",
        "vascular plant",
        "vertebrate",
        "way",
        "whole",
    }
)


@dataclass(frozen=True)
class Meaning:
    """A node of the tree: its number, its parent's (-1 for the root), its word, and whether the word is descriptive.

    `leaves` is the number of the 1,000 classes at or below it, `depth` the number of nodes above it.
    """

    node: int
    parent: int
    word: str
    tells: bool
    leaves: int
    depth: int


class ImageNetTree:
    """The tree; nodes are numbered from 0, parents before children."""

    def __init__(self, meanings: list[Meaning], of_wnid: Mapping[str, int], of_word: Mapping[str, int]) -> None:
        self.meanings = meanings
        self._of_wnid, self._of_word = of_wnid, of_word

    def find(self, name: str) -> int:
        """Return the node of a class or label, -1 without one.

        A WordNet number at the beginning of the name decides. Else the name must be that of a class or a synonym of a
        single meaning, in the singular or with s.
        """
        wnid = _WNID.match(name)
        if wnid is not None:
            return self._of_wnid.get(wnid[1], -1)
        if name in self._of_word:
            return self._of_word[name]
        word = plain(name)
        singular = self._of_word.get(word.removesuffix("s"), -1) if word.endswith("s") else -1
        return self._of_word.get(word, singular)

    def upwards(self, node: int) -> list[int]:
        """Return a node and all nodes above it, the root last."""
        path = []
        while node >= 0:
            path.append(node)
            node = self.meanings[node].parent
        return path


@functools.cache
def imagenet_tree() -> ImageNetTree:
    """Return the tree, read from the table once."""
    from lookalike_indexer.embedding.classes import imagenet_names

    text = (resources.files("lookalike_indexer.experiments") / "imagenet_tree.txt").read_text("utf-8")
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    numbers = {wnid: number for number, (wnid, *_) in enumerate(lines)}
    parents = [numbers.get(parent, -1) for _, parent, _, _ in lines]
    depths, leaves = [0] * len(lines), [int(bool(index)) for _, _, index, _ in lines]
    for node, parent in enumerate(parents):
        depths[node] = depths[parent] + 1 if parent >= 0 else 0
    for node in reversed(range(len(lines))):
        if parents[node] >= 0:
            leaves[parents[node]] += leaves[node]
    synonyms = [synonym.split(";") for *_, synonym in lines]
    meanings = [
        Meaning(node, parents[node], words[0], words[0] not in _EMPTY, leaves[node], depths[node])
        for node, words in enumerate(synonyms)
    ]
    classes = {int(index): node for node, (_, _, index, _) in enumerate(lines) if index}
    return ImageNetTree(meanings, numbers, _nodes_by_word(synonyms, classes, imagenet_names()))


def _nodes_by_word(synonyms: list[list[str]], classes: Mapping[int, int], names: tuple[str, ...]) -> dict[str, int]:
    """Return the node of each word; exact class names win over plain ones, first synonyms and unambiguous ones."""
    found = _unique([(plain(word), node) for node, words in enumerate(synonyms) for word in words])
    found |= _unique([(plain(words[0]), node) for node, words in enumerate(synonyms)])
    for name in (plain, str):
        for index in sorted(classes, reverse=True):
            found[name(names[index])] = classes[index]
    return found


def _unique(pairs: list[tuple[str, int]]) -> dict[str, int]:
    """Return the node of each word that belongs to a single node."""
    nodes: dict[str, set[int]] = {}
    for word, node in pairs:
        nodes.setdefault(word, set()).add(node)
    return {word: min(found) for word, found in nodes.items() if len(found) == 1}
