"""Measure `lookalike label-issues` with 5 % of the labels flipped, for the figures in docs/experiments.md.

python scripts/flipped_labels.py COLLECTION     a labeled collection with a graph; five random draws
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.metrics import roc_auc_score

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.label_issues import label_issues
from lookalike_indexer.experiments.view import View


class FlippedView(View):
    """A view in which some images have another label."""

    def flip(self, share: float, seed: int) -> np.ndarray:
        """Give a random share of the images another label; return a mask of them, bool (images,)."""
        codes, names = self._encoded
        generator = np.random.default_rng(seed)
        flipped = generator.choice(len(codes), round(share * len(codes)), replace=False)
        codes = codes.copy()
        codes[flipped] = (codes[flipped] + generator.integers(1, len(names), len(flipped))) % len(names)
        self.__dict__["_encoded"] = codes, names
        return np.isin(np.arange(len(codes)), flipped)


def main(collection: str) -> None:
    for predictions in (False, True):
        rows = []
        for seed in range(5):
            view = FlippedView(CollectionReader.open(collection))
            flipped = view.flip(0.05, seed)
            scores = label_issues(view, predictions=predictions, scores=True).tables["scores"]
            score, issue = (scores.column(name).to_numpy() for name in ("score", "issue"))
            first = np.argsort(score, kind="stable")[: flipped.sum()]
            rows.append(
                (roc_auc_score(flipped, -score), flipped[first].mean(), flipped[issue].mean(), issue[flipped].mean())
            )
        told = zip(("AUROC", "precision at the number flipped", "precision", "recall"), np.mean(rows, 0), strict=True)
        print(f"predictions {predictions}:", ", ".join(f"{name} {value:.4f}" for name, value in told))


if __name__ == "__main__":
    main(sys.argv[1])
