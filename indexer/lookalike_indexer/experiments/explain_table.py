"""Classes of several explained images as one table."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from lookalike_indexer.experiments.result import Result

_COLUMNS = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("label", pa.string()),
        pa.field("class_index", pa.int64()),
        pa.field("probability", pa.float64()),
        pa.field("at_most", pa.float64()),
        pa.field("class", pa.string()),
        pa.field("of_label", pa.bool_()),
        pa.field("is_first", pa.bool_()),
    ]
)


def explain_table(results: Sequence[Result]) -> pa.Table:
    """Return a row for the most probable class of each explained image, and one for its label's class if that differs.

    Columns: key, label, class_index, probability (null if it was not kept, because the class is not among the most
    probable ones), at_most (the probability of the last of those, an upper bound; null if the probability is known),
    class, of_label (whether the label stands for the class; null if it stands for none), is_first (whether it is the
    most probable class).
    """
    return pa.Table.from_pylist([line for result in results for line in _lines(result)], schema=_COLUMNS)


def _lines(result: Result) -> list[dict[str, object]]:
    settings = result.settings
    predictions = [line for line in result.tables["predictions"].to_pylist() if line["model"] == settings["model"]]
    first, own = predictions[0], int(str(settings["own_class"]))
    image = {"key": settings["key"], "label": settings["label"]}
    known = own >= 0
    lines = [{**image, **_of(first), "of_label": first["of_label"] if known else None, "is_first": True}]
    if known and not first["of_label"]:
        hit = next((line for line in predictions if line["of_label"]), None)
        last = predictions[-1]["probability"]
        unseen = {"class_index": own, "probability": None, "at_most": last, "class": settings["own_class_name"]}
        lines.append({**image, **(_of(hit) if hit else unseen), "of_label": True, "is_first": False})
    return lines


def _of(line: dict[str, object]) -> dict[str, object]:
    return {name: line[name] for name in ("class_index", "probability", "class")}
