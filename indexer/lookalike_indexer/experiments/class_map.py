"""Mapping of a collection's labels to a model's classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lookalike_indexer.arrays import Bools, Int32
from lookalike_indexer.collection.commands import instead
from lookalike_indexer.collection.spec import digest_of
from lookalike_indexer.embedding.classes import imagenet_names, numbered_names
from lookalike_indexer.errors import NotFoundError, UsageError
from lookalike_indexer.experiments.view import View, shortened_list
from lookalike_indexer.text import loose_name, plain_names


@dataclass(frozen=True)
class ClassMap:
    """A mapping of labels to classes; a label may stand for several classes, or for none.

    `accepts` is bool, of shape (labels, classes), by the view's label codes; `names` are the model's classes;
    `unmapped` are the labels without a class; `rules` describe how each label's classes were found, "" if there are
    none; `remedy` is the end of a sentence about unmapped labels: what a user can do.
    """

    accepts: Bools
    names: list[str]
    unmapped: list[str]
    rules: list[str]
    remedy: str

    def classes_of(self, label_code: int) -> list[int]:
        """Return the classes that a label stands for; none for an image without a label."""
        return np.flatnonzero(self.accepts[label_code]).tolist() if label_code >= 0 else []

    def labels_of(self, class_index: int) -> list[int]:
        """Return the codes of the labels that stand for a class."""
        return np.flatnonzero(self.accepts[:, class_index]).tolist()

    def hits(self, labels: Int32, classes: Int32) -> Bools:
        """Return whether each class (n, top) is one of those of the image's label (n,); False for -1."""
        known = (labels[:, None] >= 0) & (classes >= 0)
        hits = np.zeros(classes.shape, bool)
        rows, places = np.nonzero(known)
        hits[rows, places] = self.accepts[labels[rows], classes[rows, places]]
        return hits


def class_map(view: View, model: str, written: Mapping[str, Sequence[str]] | None = None) -> ClassMap:
    """Map the labels of a view to the classes of a model.

    Labels match by the same name, or else ignoring case, spaces, hyphens, underscores and a leading WordNet number
    ("n02979186_cassette_player" is "cassette player"). `written` gives the classes of some labels, by name or index,
    and takes precedence. If it names classes of ImageNet, a head of 1,000 classes without names has ImageNet's. Raise
    NotFoundError if the model does not exist, or `written` names a class that the model does not have.
    """
    names = _names(view, model, written)
    exact: dict[str, list[int]] = {}
    loose: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        exact.setdefault(name, []).append(index)
        loose.setdefault(loose_name(name), []).append(index)
    accepts = np.zeros((len(view.label_names), len(names)), bool)
    rules = []
    for code, label in enumerate(view.label_names):
        if written is not None and label in written:
            found = [index for name in written[label] for index in _named(model, name, names, exact, loose)]
            rule = "class map"
        elif label in exact:
            found, rule = exact[label], "same name"
        else:
            found = loose.get(loose_name(label), [])
            rule = "without WordNet number" if plain_names(label) != label else "but for case and punctuation"
        accepts[code, found] = True
        rules.append(rule if found else "")
    unmapped = [label for label, row in zip(view.label_names, accepts, strict=True) if not row.any()]
    return ClassMap(accepts, names, unmapped, rules, _remedy(view, model, names))


def _remedy(view: View, model: str, names: list[str]) -> str:
    written = "say which is which by a class map, a CSV file with the columns label and class"
    models = view.reader.manifest.models
    if not models[model].spec.weights.pretrained:
        trained = {name for name, entry in models.items() if entry.predictions and entry.spec.weights.pretrained}
        return f"{model} is of random weights and knows no classes: embed with trained weights" + (
            instead("name a model that was trained", trained)
        )
    if names != numbered_names(len(names)):
        return written
    return f"give the classes names by --class-names FILE, or --class-names imagenet; or {written}"


def _names(view: View, model: str, written: Mapping[str, Sequence[str]] | None) -> list[str]:
    names, imagenet = view.class_names(model), list(imagenet_names())
    if len(names) != len(imagenet) or names != numbered_names(len(names)):
        return names
    known = {loose_name(name) for name in imagenet}
    said = [name for classes in (written or {}).values() for name in classes if not name.isdecimal()]
    return imagenet if said and all(loose_name(name) in known for name in said) else names


def digest_of_map(written: Mapping[str, Sequence[str]] | None) -> str:
    """Return the digest that identifies a class map in results; "" for none."""
    return digest_of({label: list(names) for label, names in written.items()}) if written else ""


def read_class_map(path: Path) -> dict[str, list[str]]:
    """Read a CSV file with the columns label and class; a label with several classes has several rows.

    Raise UsageError if the file has another form.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"label", "class"} <= set(rows.fieldnames or []):
                raise UsageError(f"The class map {path} must be a CSV file with the columns label and class.")
            written: dict[str, list[str]] = {}
            for row in rows:
                if not row["label"] or not row["class"]:
                    raise UsageError(f"The class map {path} has a line {rows.line_num} without a label or a class.")
                written.setdefault(row["label"], []).append(row["class"])
            return written
    except OSError as error:
        raise UsageError(f"The class map {path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"The class map {path} cannot be read as CSV: {error}.") from error


def _named(
    model: str, name: str, names: list[str], exact: dict[str, list[int]], loose: dict[str, list[int]]
) -> list[int]:
    if name.isdecimal() and int(name) < len(names):
        return [int(name)]
    found = exact.get(name) or loose.get(loose_name(name))
    if not found:
        raise NotFoundError(f"The model {model} has no class {name!r}; it has {shortened_list(names)}.")
    return found
