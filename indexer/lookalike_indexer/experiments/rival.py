"""Rival class of an image, for which a model takes it, and the images that represent that class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lookalike_indexer.arrays import Bools
from lookalike_indexer.experiments.class_map import ClassMap
from lookalike_indexer.experiments.subject import Subject
from lookalike_indexer.experiments.view import View


@dataclass(frozen=True)
class Rival:
    """The class that the image is taken for, or most likely confused with, and the images that represent it.

    `by` is their source: images of that label, images that the model also takes for it, or all images of other labels.
    """

    index: int
    name: str
    images: Bools
    by: Literal["label", "prediction", "other"]


def rival_of(view: View, subject: Subject, model: str, mapping: ClassMap) -> Rival:
    """Return the most probable class that the image's label does not stand for; the most probable one if it stands for
    all.
    """
    accepted = mapping.classes_of(subject.label_code)
    classes = subject.classes
    index = int(next((found for found in classes.tolist() if found >= 0 and found not in accepted), classes[0]))
    name = mapping.names[index]
    by_label = np.isin(view.labels, mapping.labels_of(index))
    if by_label.any():
        return Rival(index, name, by_label, "label")
    taken = view.predicted(model).classes[:, 0] == index
    if taken.sum() > (subject.row >= 0 and taken[subject.row]):
        return Rival(index, name, taken, "prediction")
    return Rival(index, name, view.labels != subject.label_code if subject.label else np.ones(len(view), bool), "other")
