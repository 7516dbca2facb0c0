"""Subject of an explanation: a stored image, or one that is not in the collection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike_indexer.arrays import Float32, Int32
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.surroundings import (
    AssignmentLookup,
    nearest_assignment,
    stored_assignment,
    stored_vector,
)
from lookalike_indexer.experiments.view import View


@dataclass(frozen=True)
class Picture:
    """An image that is not in the collection, as a model of the collection sees it.

    `vector` is its embedding in a space of the model, float32 of shape (1, dim); `classes` int32 and `probabilities`
    float32, both of shape (top,), are sorted with the most probable class first.
    """

    name: str
    vector: Float32
    classes: Int32
    probabilities: Float32


@dataclass(frozen=True)
class Subject:
    """The explained image: `row` is -1 if it is not stored, `label` "" and `label_code` -1 without a label."""

    row: int
    name: str
    label: str
    label_code: int
    vector: Float32
    classes: Int32
    probabilities: Float32
    find_assignment: AssignmentLookup


def stored_subject(view: View, row: int, space: str) -> Subject:
    """Return a stored image. Raise NotBuiltError if it is not in the space, or the space's model did not see it."""
    model = view.reader.space(space)[1].model
    (name,), (label,) = view.keys(np.array([row])), view.label_texts(np.array([row]))
    predicted = view.predicted(model)
    classes, probabilities = predicted.classes[row], predicted.probabilities[row]
    if classes[0] < 0:
        raise NotBuiltError(f"The model {model} did not see the image {name}; run lookalike embed again.")
    vector = stored_vector(view, row, space)
    code = int(view.labels[row])
    return Subject(row, name, label, code, vector, classes, probabilities, stored_assignment(view, row))


def picture_subject(view: View, picture: Picture) -> Subject:
    """Return an image that is not in the collection; it has no label."""
    find_assignment = nearest_assignment(view, picture.vector)
    return Subject(-1, picture.name, "", -1, picture.vector, picture.classes, picture.probabilities, find_assignment)
