"""Class x cluster matrix: the clusters of each label, and the agreement of labels and clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from lookalike_indexer.arrays import Int64
from lookalike_indexer.experiments.main_clusters import HOME_SHARE, Cells, order_columns, order_rows, ranked, turned
from lookalike_indexer.experiments.metrics import Contingency, agreement, contingency
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.space_notes import partial_notes, untrained_notes
from lookalike_indexer.experiments.view import View, shortened_list
from lookalike_indexer.text import counted

_NAMED = 6
_RULE = "the main clusters of a class are the fewest that hold at least half of its images, the largest first"


def class_matrix(view: View, clustering: str = "", where: str = "") -> Result:
    """Count the images of each label in each cluster of a clustering, "" for the default space's current one.

    `where` is a filter: only matching images count, all for "".

    Tables:

    - counts: label, cluster, count, is_main; cells that are not 0, by label, the highest count first
    - labels: label, images, main_clusters, main_cluster, share (of its images in main_cluster), spread (clusters
      that it is in), straddles (it has several main clusters), shares_with (labels with a main cluster in common),
      position
    - secondary: label, cluster, count, share, shares_with; the other clusters that hold a tenth of a label's images,
      at least two, and the labels that they are a main cluster of; the highest share first
    - clusters: cluster, size, `labelled`, label (the most frequent one), purity (its share of the labeled images),
      labels (those that it is a main cluster of), position

    `position` is the place in an order that keeps similar rows together. Images without a label or cluster are left out
    of all but `size`. Raise NotBuiltError if there are no labels, or there is no clustering. Raise NotFoundError if the
    clustering does not exist.
    """
    view.require_labels()
    name = view.clustering_name(clustering)
    assigned = view.assigned(name)
    keep = view.matching(where)
    counted, assignments = view.labels, assigned.clusters
    if keep is not None:
        counted, assignments = counted[keep], assignments[keep]
    table = contingency(counted, assignments, len(view.label_names), assigned.entry.k)
    cells = ranked(table)
    sizes = np.bincount(assignments[assignments >= 0], minlength=assigned.entry.k)
    row_order = order_rows(table)
    labels = _labels(view, table, cells, row_order)
    clusters = _clusters(view, table, cells, sizes, order_columns(table, row_order))
    figures = {
        "images": float(table.total),
        "left_out": float(table.left_out),
        "labels": float(len(view.label_names)),
        "clusters": float(assigned.entry.k),
        "empty_clusters": float((sizes == 0).sum()),
        **agreement(table).figures(),
    }
    counts = pa.table(
        {
            "label": pa.array(view.label_names, pa.string()).take(pa.array(cells.rows)),
            "cluster": pa.array(cells.columns, pa.int32()),
            "count": pa.array(cells.counts, pa.int64()),
            "is_main": pa.array(cells.is_main),
        }
    )
    secondary = _secondary(view, cells, clusters.column("labels").to_pylist())
    tables = {"counts": counts, "labels": labels, "clusters": clusters, "secondary": secondary}
    settings = {"clustering": name, "space": assigned.entry.space, **({"where": where} if where else {})}
    told = (
        *_findings(name, tables, figures),
        *partial_notes(view, [name]),
        *untrained_notes(view, [assigned.entry.space]),
    )
    return Result("class_matrix", settings, tables, figures, told)


def _labels(view: View, table: Contingency, cells: Cells, order: Int64) -> pa.Table:
    rows = table.shape[0]
    mains: list[list[int]] = [[] for _ in range(rows)]
    residents: list[list[int]] = [[] for _ in range(table.shape[1])]
    for row, column in zip(cells.rows[cells.is_main].tolist(), cells.columns[cells.is_main].tolist(), strict=True):
        mains[row].append(column)
        residents[column].append(row)
    shares = np.zeros(rows)
    shares[cells.rows[cells.place == 0]] = cells.share[cells.place == 0]
    together = [sorted({other for column in mains[row] for other in residents[column]} - {row}) for row in range(rows)]
    return pa.table(
        {
            "label": pa.array(view.label_names, pa.string()),
            "images": pa.array(table.row_sums),
            "main_clusters": pa.array(mains, pa.list_(pa.int32())),
            "main_cluster": pa.array([main[0] if main else None for main in mains], pa.int32()),
            "share": pa.array(shares),
            "spread": pa.array(np.bincount(cells.rows, minlength=rows), pa.int32()),
            "straddles": pa.array([len(main) > 1 for main in mains], pa.bool_()),
            "shares_with": pa.array(
                [[view.label_names[other] for other in others] for others in together], pa.list_(pa.string())
            ),
            "position": pa.array(np.argsort(order), pa.int32()),
        }
    )


def _clusters(
    view: View,
    table: Contingency,
    cells: Cells,
    sizes: Int64,
    order: Int64,
) -> pa.Table:
    columns = table.shape[1]
    first: list[str | None] = [None] * columns
    purity = np.full(columns, np.nan)
    by_cluster = ranked(turned(table))
    top = by_cluster.place == 0
    for column, row in zip(by_cluster.rows[top].tolist(), by_cluster.columns[top].tolist(), strict=True):
        first[column] = view.label_names[row]
    purity[by_cluster.rows[top]] = by_cluster.share[top]
    residents: list[list[str]] = [[] for _ in range(columns)]
    for row, column in zip(cells.rows[cells.is_main].tolist(), cells.columns[cells.is_main].tolist(), strict=True):
        residents[column].append(view.label_names[row])
    return pa.table(
        {
            "cluster": pa.array(range(columns), pa.int32()),
            "size": pa.array(sizes, pa.int64()),
            "labelled": pa.array(table.column_sums),
            "label": pa.array(first, pa.string()),
            "purity": pa.array(purity),
            "labels": pa.array(residents, pa.list_(pa.string())),
            "position": pa.array(np.argsort(order), pa.int32()),
        }
    )


def _secondary(view: View, cells: Cells, residents: list[list[str]]) -> pa.Table:
    at = np.flatnonzero(cells.is_secondary)
    at = at[np.lexsort((cells.columns[at], cells.rows[at], -cells.share[at]))]
    return pa.table(
        {
            "label": pa.array([view.label_names[row] for row in cells.rows[at].tolist()], pa.string()),
            "cluster": pa.array(cells.columns[at], pa.int32()),
            "count": pa.array(cells.counts[at], pa.int64()),
            "share": pa.array(cells.share[at], pa.float64()),
            "shares_with": pa.array(
                [residents[column] for column in cells.columns[at].tolist()], pa.list_(pa.string())
            ),
        }
    )


def _findings(name: str, tables: dict[str, pa.Table], figures: dict[str, float]) -> tuple[str, ...]:
    if not figures["images"]:
        return (f"No image with a label and a cluster of {name} is counted.",)
    labels = tables["labels"].to_pylist()
    told = [
        f"{name}: purity {figures['purity']:.3f}, NMI {figures['nmi']:.3f}, ARI {figures['ari']:.3f} over "
        f"{figures['images']:.0f} images of {figures['labels']:.0f} classes in {figures['clusters']:.0f} clusters."
    ]
    if figures["left_out"]:
        left_out = counted(int(figures["left_out"]), "image")
        told.append(
            f"Left out: {left_out} without a label or a cluster; lookalike attach adds labels, and lookalike cluster "
            "clusters all images."
        )
    straddling = sorted((row for row in labels if row["straddles"]), key=lambda row: row["share"])
    if straddling:
        each = [f"{row['label']} ({', '.join(map(str, row['main_clusters'][:_NAMED]))})" for row in straddling]
        told.append(
            f"Straddling several clusters, {len(each)} of {len(labels)} classes: "
            f"{shortened_list(each, _NAMED)}; {_RULE}."
        )
    else:
        told.append(f"No class straddles clusters: each has one that holds at least half of its images ({_RULE}).")
    told += _secondary_findings(tables["secondary"].to_pylist(), len(labels))
    clusters = tables["clusters"].to_pylist()
    shared = [row for row in clusters if len(row["labels"]) > 1]
    shared.sort(key=lambda row: (-len(row["labels"]), row["cluster"]))
    if shared:
        each = [f"{row['cluster']} ({shortened_list(row['labels'], _NAMED)})" for row in shared]
        told.append(
            f"Main clusters of several classes, {len(each)} of {len(clusters)}: {shortened_list(each, _NAMED)}."
        )
    else:
        told.append("No two classes share a main cluster.")
    together = sorted(labels, key=lambda row: -row["share"])[:_NAMED]
    told.append("Held together best: " + ", ".join(f"{row['label']} {row['share']:.0%}" for row in together) + ".")
    return tuple(told)


def _secondary_findings(rows: list[dict[str, Any]], classes: int) -> list[str]:
    if not rows:
        return [f"No other cluster holds {HOME_SHARE:.0%} of a class."]
    each = []
    for row in rows:
        lies = f"with {shortened_list(row['shares_with'], _NAMED)}" if row["shares_with"] else "apart"
        each.append(f"{row['share']:.0%} of {row['label']} {lies} (cluster {row['cluster']})")
    parted = len({row["label"] for row in rows})
    told = f"Smaller parts of {HOME_SHARE:.0%} and more lie elsewhere, of {parted} of {classes} classes"
    return [f"{told}: {shortened_list(each, _NAMED)}."]
