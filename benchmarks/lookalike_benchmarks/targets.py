"""Targets, and the check whether the measured rows reach them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

LabeledRow = Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """A bound of a measured figure, such as at least 0.9."""

    measure: str
    sign: Literal[">=", "<="]
    value: float

    def holds(self, figure: float) -> bool:
        return figure >= self.value if self.sign == ">=" else figure <= self.value

    def text(self) -> str:
        return f"{self.measure} {self.sign} {self.value:g}"


@dataclass(frozen=True)
class Target:
    """A target: every row of `suite` whose case fully matches `case` meets all `bounds`.

    `key` names the reason for a miss in the reasons file.
    """

    key: str
    what: str
    suite: str
    case: str
    bounds: tuple[Bound, ...]


@dataclass(frozen=True)
class Verdict:
    """Verdict on a target: the row that is worst for its first bound, or None without any row."""

    target: Target
    row: LabeledRow | None
    met: bool

    def figures(self) -> dict[str, float]:
        """Return the figures of the bounds."""
        if self.row is None:
            return {}
        return {bound.measure: self.row["measured"][bound.measure] for bound in self.target.bounds}


def judge(target: Target, rows: Sequence[LabeledRow]) -> Verdict:
    """Judge a target by its worst row among all rows of its suite."""
    wanted = re.compile(target.case)
    found = [
        row
        for row in rows
        if wanted.fullmatch(row["case"]) and all(bound.measure in row["measured"] for bound in target.bounds)
    ]
    if not found:
        return Verdict(target, None, False)
    first = target.bounds[0]
    chosen = min if first.sign == ">=" else max
    worst = chosen(found, key=lambda row: float(row["measured"][first.measure]))
    met = all(bound.holds(row["measured"][bound.measure]) for row in found for bound in target.bounds)
    return Verdict(target, worst, met)


def _at_least(measure: str, value: float) -> Bound:
    return Bound(measure, ">=", value)


def _at_most(measure: str, value: float) -> Bound:
    return Bound(measure, "<=", value)


TARGETS = (
    Target(
        "pipeline",
        "pipeline images/s over bare forward images/s, CPU, best type",
        "embed",
        "pipeline over forward, cpu",
        (_at_least("ratio_median", 0.90),),
    ),
    Target(
        "bfloat16",
        "bfloat16 over float32 forward, where the processor has bfloat16 matrix units",
        "embed",
        "bfloat16 over float32, cpu",
        (_at_least("speedup", 2.5), _at_least("cosine_min", 0.999)),
    ),
    Target(
        "cpu-of-a-call",
        "server CPU for a single-query call at 64 callers, less bare faiss batch-64 CPU, over a bare gRPC echo's",
        "serve",
        "CPU of a call less its search, over a bare gRPC echo",
        (_at_most("ratio_median", 1.3),),
    ),
    Target(
        "batches",
        "requests of 64 through gRPC over bare faiss in batches of 64, queries/s",
        "serve",
        "requests of 64 over bare faiss in batches of 64",
        (_at_least("ratio_median", 0.90),),
    ),
    Target(
        "one-caller",
        "one caller: added latency over a bare faiss single query (p50)",
        "serve",
        "one caller's added latency over bare faiss",
        (_at_most("added_ms", 1.0),),
    ),
    Target(
        "filters-recall",
        "recall@10 under a filter over that of the same search without one, every index, filter and share",
        "filters",
        r".*%",
        (_at_least("recall_ratio", 0.98),),
    ),
    Target(
        "filters-lists",
        "CPU of a filtered search over an unfiltered one, inverted lists, random and near filters",
        "filters",
        r"ivf-.*, (random|near) .*",
        (_at_most("ratio", 2.5),),
    ),
    Target(
        "filters-graph",
        "CPU of a filtered search of a graph, random and near filters",
        "filters",
        r"hnsw, (random|near) .*",
        (_at_most("cpu_ms", 5),),
    ),
    Target(
        "filters-batch",
        "CPU of a batch of 64 with 64 filters over that with one",
        "filters",
        r".* in a batch over one",
        (_at_most("ratio", 2.2),),
    ),
    Target(
        "filters-peers",
        "CPU of a filtered search of an embedded peer over ours, each at recall@10 0.95 or its best",
        "filters",
        r"(qdrant-edge|zvec|lancedb), .*%",
        (_at_least("ratio", 1),),
    ),
    Target(
        "networked-peers",
        "served queries/s against the best networked peer at equal recall@10, 1 and 16 callers",
        "peers",
        r"(chroma|milvus-lite|pgvector), recall@10 .*",
        (_at_least("ratio_median", 2.0),),
    ),
    Target(
        "embedded-peers",
        "processor time of a query of the best embedded peer over ours at equal recall@10, single and in batches of 64",
        "peers",
        r"(?!chroma|milvus-lite|pgvector).*, recall@10 .*",
        (_at_least("cpu_ratio", 2.0),),
    ),
    Target(
        "lookup",
        "id to key, label, uri of 1,000 neighbors at 1M images",
        "scale",
        "look up 1,000 neighbors of 1,000,000 images",
        (_at_most("ids_to_key_label_uri_ms", 2.0),),
    ),
    Target(
        "cold-start",
        "start of `serve` on 100k x 2048 over reading the index file",
        "scale",
        r"start over reading the index file, (?:N = )?100[,_]?000.*",
        (_at_most("ratio_median", 1.3),),
    ),
    Target(
        "experiments",
        "matrix, oddballs, class accuracies and comparison at 1M images, columns read from the disk",
        "experiments",
        ".*, 1,000,000 images",
        (_at_most("seconds", 5.0), _at_most("peak_rss_mib", 1024)),
    ),
    Target(
        "kmeans",
        "k-means against scikit-learn KMeans (Lloyd), same start, N = 50k, k = 256, 20 iterations",
        "kmeans",
        r"lookalike over scikit-learn (?!.*Mini).*k 256",
        (_at_least("speedup", 2.5), _at_most("inertia_ratio", 1.001)),
    ),
    Target(
        "parts",
        "index build and k-means over Parquet parts against an array in memory, time",
        "kmeans",
        r"(build|cluster) over Parquet parts",
        (_at_most("ratio_median", 1.1),),
    ),
    Target(
        "gpu-forward",
        "GPU: ResNet152 bfloat16 forward, share of the measured matrix peak",
        "embed",
        r"forward bfloat16 batch 256, cuda:0, compiled",
        (_at_least("share_of_matrix_peak", 0.35),),
    ),
    Target(
        "gpu-pipeline",
        "GPU: pipeline over forward",
        "embed",
        "pipeline over forward, cuda:0, decoded there",
        (_at_least("ratio_median", 0.90),),
    ),
    Target(
        "gpu-kmeans",
        "GPU: k-means at k 16384, an assignment with its update, share of the bfloat16 matrix peak",
        "kmeans",
        r"lookalike k 16384, \d+ GPUs?",
        (_at_least("share_of_bfloat16_matrix_peak", 0.50),),
    ),
    Target(
        "gpu-flat",
        "GPU: flat fp16 search, share of the lower of memory and matrix ceilings, batch 1 and 1024",
        "search",
        r"flat-fp16 over its ceiling, batch (1|1024), 1 GPU",
        (_at_least("share_of_ceiling", 0.60),),
    ),
    Target(
        "gpu-ivf",
        "GPU: IVF at recall 0.95 over the 2-core CPU",
        "search",
        r".*GPU.* over .*CPU.*",
        (_at_least("ratio_median", 20.0),),
    ),
    Target(
        "gpu-service",
        "GPU: service over raw batch throughput",
        "serve",
        "requests of 64 over bare faiss in batches of 64, one GPU",
        (_at_least("ratio_median", 0.80),),
    ),
)
