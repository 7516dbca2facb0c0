"""Measure imagededup on the images with variants of near_duplicates.py, for the figures in docs/experiments.md.

python scripts/imagededup_pairs.py FOLDER     in an environment with imagededup; Lookalike is not needed
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from imagededup.methods import CNN, PHash

Pairs = set[tuple[str, str]]


def main(folder: str) -> None:
    """Print precision, recall and F1 of pairs: as found, and grouped as Lookalike counts them."""
    names = [str(path.relative_to(folder)) for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(Path(name).stem.partition("~")[0], []).append(name)
    truth = {pair for members in families.values() for pair in itertools.combinations(sorted(members), 2)}
    for distance in (0, 4, 8, 10, 12):
        _tell(f"PHash, {distance} bits", _found(PHash(), folder, max_distance_threshold=distance), truth)
    try:
        network = CNN()
    except Exception as error:  # its weights are downloaded
        print(f"CNN: not measured, its weights cannot be had: {type(error).__name__}")
        return
    for similarity in (0.95, 0.9, 0.85):
        _tell(f"CNN, {similarity}", _found(network, folder, min_similarity_threshold=similarity), truth)


def _found(method: Any, folder: str, **settings: float) -> Pairs:
    near = method.find_duplicates(image_dir=folder, recursive=True, **settings)
    return {(min(one, other), max(one, other)) for one, others in near.items() for other in others}


def _grouped(pairs: Pairs) -> Pairs:
    """Return all pairs within the connected components."""
    group: dict[str, set[str]] = {}
    for one, other in pairs:
        joined = group.get(one, {one}) | group.get(other, {other})
        for member in joined:
            group[member] = joined
    groups = {id(members): members for members in group.values()}.values()
    return {pair for members in groups for pair in itertools.combinations(sorted(members), 2)}


def _tell(name: str, found: Pairs, truth: Pairs) -> None:
    for told, pairs in ((name, found), (f"{name}, groups", _grouped(found))):
        precision, recall = len(pairs & truth) / max(1, len(pairs)), len(pairs & truth) / len(truth)
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        print(f"{told}: {len(pairs)} pairs, precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
