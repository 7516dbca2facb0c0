"""Explanation of a classification as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lookalike_indexer.collection.metrics import NAMES
from lookalike_indexer.collection.spec import Metric
from lookalike_indexer.experiments.class_map import ClassMap
from lookalike_indexer.experiments.rival import Rival


def findings(
    tables: Mapping[str, pa.Table], label: str, rival: Rival, model: str, mapping: ClassMap, metric: Metric
) -> tuple[str, ...]:
    """Return the tables of `explain` as sentences, with distances by `metric`; no image is named twice."""
    found = [_prediction_sentence(tables["predictions"], label, rival, model, mapping)]
    if rival.by != "label":
        beside = "images of other labels" if label else "all images"
        if rival.by == "prediction":
            beside = f"images that {model} takes for {rival.name}"
        found.append(f"No label of the collection stands for {rival.name}, so it is compared with {beside}.")
    found += _nearest_sentences(tables["nearest"], label, rival, metric)
    found += [_oddness_sentence(line, label) for line in tables["odd"].to_pylist()]
    found += [_cluster_sentence(line, label) for line in tables["clusters"].to_pylist() if line["main_label"]]
    return tuple(found)


def _prediction_sentence(predictions: pa.Table, label: str, rival: Rival, model: str, mapping: ClassMap) -> str:
    lines = [line for line in predictions.to_pylist() if line["model"] == model]
    first = lines[0]
    told = f"{model} takes it for {first['class']} ({_percent(first['probability'])})"
    hit = next((line for line in lines if line["of_label"]), None)
    if not label:
        return f"{told}; it has no label."
    if label in mapping.unmapped:
        return f"{told}; its label {label} names no class of the model: {mapping.remedy}."
    if first["of_label"]:
        return f"{told}, as its label {label} says; the next is {rival.name}."
    if hit:
        return f"{told}; its label {label} comes at place {hit['rank']} ({_percent(hit['probability'])})."
    return f"{told}; its label {label} is not among the {len(lines)} most probable classes."


def _nearest_sentences(nearest: pa.Table, label: str, rival: Rival, metric: Metric) -> list[str]:
    lines = [line for line in nearest.to_pylist() if line["rank"] == 1]
    at = {line["group"]: f"at {line['distance']:.3f}" for line in lines}
    by = f" ({NAMES[metric]} distance{'s' if len(at) > 1 else ''})" if at else ""
    labels = {line["group"]: line["label"] for line in lines}
    if rival.by == "prediction" and "rival" in at:
        of = f" (label {labels['rival']})" if labels["rival"] else ""
        told = f"The nearest image that is taken for {rival.name} is {at['rival']}{of}"
        return [f"{told}, the nearest other image of {label} {at['own']}{by}." if "own" in at else f"{told}{by}."]
    among = f"of {rival.name}" if rival.by == "label" else "of other labels" if label else "of all"
    if "own" in at and "rival" in at:
        return [f"Its nearest image of {label} is {at['own']}, its nearest {among} {at['rival']}{by}."]
    named = {"own": f"of {label}", "rival": among}
    return [f"Its nearest image {named[group]} is {where}{by}." for group, where in at.items()]


def _oddness_sentence(line: Mapping[str, Any], label: str) -> str:
    why = {
        "outside": "it lies outside the clusters of its class",
        "secondary": "it lies with a smaller part of its class in a main cluster of another class",
        "far": "it is far from the middle of its class",
        "nearer": f"it is nearer to the middle of {line['looks_like']}",
    }
    *first, last = [told for way, told in why.items() if line[way]]
    ways = f"{', '.join(first)}, and {last}" if first else last
    return f"It is odd for {label}, number {line['rank']} of its oddballs: {ways}."


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "under 1%"


def _cluster_sentence(line: Mapping[str, Any], label: str) -> str:
    told = (
        f"In {line['clustering']} it is in cluster {line['cluster']} of {line['size']} images, of which "
        f"{line['main_share']:.0%} are {line['main_label']}"
    )
    return f"{told} and {line['own_share']:.0%} {label}." if label and line["main_label"] != label else f"{told}."
