"""Questions of people who choose a tool, and the tables that answer them from the rows of a suite."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lookalike_benchmarks.engines.catalog import PEERS
from lookalike_benchmarks.tables import format_value, markdown
from lookalike_benchmarks.targets import LabeledRow

Rows = Sequence[LabeledRow]
_RECALLS = (0.90, 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Question:
    """A section of the page: `table` builds the lines of a Markdown table from the rows of one run, or none.

    `charts` are prefixes of the names of the suite's charts that belong to the section.
    """

    title: str
    suite: str
    text: str
    table: Callable[[Rows], list[str]]
    charts: tuple[str, ...] = ()


def _search(rows: Rows) -> list[str]:
    """Return the highest queries/s of each index at each recall, one at a time and in batches of 64."""
    names = dict.fromkeys(row["params"]["factory"] for row in rows if "factory" in row["params"])
    lines = []
    for name in names:
        mine = [row for row in rows if row["params"].get("factory") == name and "recall_at_10" in row["measured"]]
        placements = dict.fromkeys(row["params"].get("placement", "cpu") for row in mine)
        for placement in placements:
            there = [row for row in mine if row["params"].get("placement", "cpu") == placement]
            sizes = [row["measured"]["index_mib"] for row in there if "index_mib" in row["measured"]]
            cells = [f"{name}, {placement}", format_value(sizes[0]) if sizes else ""]
            lines.append([*cells, *(_fastest(there, recall) for recall in _RECALLS)])
    head = ["index", "MiB", *(f"recall >= {recall:.2f}" for recall in _RECALLS)]
    return markdown(head, lines)


def _fastest(rows: Rows, recall: float) -> str:
    rates = []
    for batch in (1, 64):
        reached = [
            row["measured"]["queries_per_s"]
            for row in rows
            if row["params"].get("batch") == batch
            and row["measured"]["recall_at_10"] >= recall
            and "queries_per_s" in row["measured"]
        ]
        rates.append(f"{max(reached):,.0f}" if reached else "-")
    return "-" if rates == ["-", "-"] else " / ".join(rates)


def _peers(rows: Rows) -> list[str]:
    """Return our queries/s over each peer's, for each load and recall."""
    compared = [row for row in rows if "recall_target" in row["params"]]
    recalls = sorted({row["params"]["recall_target"] for row in compared})
    ways: dict[tuple[str, str], dict[float, str]] = {}
    for row in compared:
        params, measured = row["params"], row["measured"]
        how = f"batches of {params['batch']}" if params["batch"] > 1 else _callers(params["callers"])
        kind = "server" if params.get("networked") else "library"
        cell = _ratio(measured["ratio_median"]) if "ratio_median" in measured else row["note"]
        ways.setdefault((f"{params['engine']} ({kind})", how), {})[params["recall_target"]] = cell
    lines = [[*way, *(cells.get(recall, "") for recall in recalls)] for way, cells in ways.items()]
    table = markdown(["peer", "asked by", *(f"recall {recall:.2f}" for recall in recalls)], lines)
    missing = [row for row in rows if not row["measured"] and "recall_target" not in row["params"]]
    return [*table, *(f"- {row['case']}: {row['note']}" for row in missing), *([""] if missing else [])]


def _best_peers(rows: Rows) -> list[str]:
    """Return the lowest of our ratios at each recall and load, with its peer."""
    found: dict[tuple[str, str], dict[float, tuple[float, str]]] = {}
    for row in rows:
        params, measured = row["params"], row["measured"]
        if "recall_target" not in params or "ratio_median" not in measured:
            continue
        kind = "servers" if params.get("networked") else "libraries"
        how = f"batches of {params['batch']}" if params["batch"] > 1 else _callers(params["callers"])
        for way, measure in ((how, "ratio_median"), (f"{how}, processor time", "cpu_ratio")):
            if measure in measured:
                cells = found.setdefault((kind, way), {})
                mine = (measured[measure], params["engine"])
                cells[params["recall_target"]] = min(mine, cells.get(params["recall_target"], mine))
    recalls = sorted({recall for cells in found.values() for recall in cells})
    lines = [
        [
            *way,
            *(f"{_ratio(cells[recall][0])} ({cells[recall][1]})" if recall in cells else "" for recall in recalls),
        ]
        for way, cells in found.items()
    ]
    table = markdown(["beside", "asked by", *(f"recall {recall:.2f}" for recall in recalls)], lines)
    if not table:
        return []
    ours = [row["params"].get("index", "") for row in rows if row["case"] == "lookalike_local, built"]
    missing = sorted(PEERS.keys() - {row["params"].get("engine") for row in rows})
    said = [f"Our index is {ours[0]}."] if ours else []
    said += [f"Not in this run: {', '.join(missing)}."] if missing else []
    return [*table, *([" ".join(said), ""] if said else [])]


def _live(rows: Rows) -> list[str]:
    """Return the times of changes of a served collection, and of searches with and without changes."""
    columns = {
        "p50_ms_without": "search without them, p50, ms",
        "p50_ms_with": "search beside them, p50, ms",
        "ratio": "ratio",
        "cpu_ratio": "ratio of the CPU of a call",
        "p50_ms": "p50, ms",
        "fdatasync_p50_ms": "of the disk alone, p50, ms",
        "vectors_a_second": "vectors/s",
        "server_cpu_us_a_vector": "CPU of a vector, us",
        "cpu_s": "CPU of a fold, s",
        "p99_ratio": "p99 of searches during it, ratio",
    }
    return _columns(rows, "changes", columns)


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _callers(count: int) -> str:
    return "1 caller" if count == 1 else f"{count} callers"


def _built(rows: Rows) -> list[str]:
    """Return the build time and memory of each engine."""
    built = [row for row in rows if row["case"].endswith(", built")]
    lines = []
    for row in built:
        params, measured = row["params"], row["measured"]
        recall = f"{measured['best_recall_at_10']:.3f}"
        seconds, memory = f"{measured['build_seconds']:.1f}", format_value(round(measured["rss_mib"]))
        lines.append([params["engine"], params.get("index", ""), seconds, memory, recall])
    return markdown(["engine", "index", "build, s", "resident, MiB", "best recall@10"], lines)


def _served(rows: Rows) -> list[str]:
    closed = [row for row in rows if row["params"].get("loop") == "closed"]
    columns = {"queries_per_s": "queries/s", "p50_ms": "p50, ms", "p99_ms": "p99, ms"}
    return _columns(closed, "calls", columns)


def _growth(rows: Rows) -> list[str]:
    """Return a line for each kind of work that was measured for several numbers of images, with a column for each."""
    works: dict[str, dict[int, str]] = {}
    for row in rows:
        if not (found := re.search(r"([\d,]+) images", row["case"])) or not row["measured"]:
            continue
        images = int(found[1].replace(",", ""))
        work = row["case"].replace(f"{found[1]} images", "N images")
        for name in ("write_seconds", "build_seconds", "load_seconds", "serve_seconds", "swap_seconds", "p50_ms"):
            if name in row["measured"]:
                works.setdefault(f"{work}: {name}", {})[images] = format_value(row["measured"][name])
        for name in ("relist_seconds", "resume_seconds", "join_seconds", "encode_seconds", "ids_to_key_label_uri_ms"):
            if name in row["measured"]:
                works.setdefault(f"{work}: {name}", {})[images] = format_value(row["measured"][name])
    several = {work: cells for work, cells in works.items() if len(cells) > 1}
    sizes = sorted({size for cells in several.values() for size in cells})
    lines = [[work, *(cells.get(size, "") for size in sizes)] for work, cells in several.items()]
    return markdown(["work", *(f"{size:,}" for size in sizes)], lines)


def _memory(rows: Rows) -> list[str]:
    wanted = {"index_mib": "index, MiB", "own_mib": "process, MiB", "base_rss_mib": "before, MiB"}
    return _columns(rows, "work", {**wanted, "peak_rss_mib": "peak, MiB"})


def _filters(rows: Rows) -> list[str]:
    """Return CPU and recall over those without a filter, for each index, kind of filter and share of matches."""
    alone = [row for row in rows if "recall_ratio" in row["measured"]]
    table = _by_share(
        "index",
        [
            (row, row["params"]["index"], f"{_ratio(row['measured']['ratio'])} ({row['measured']['recall_ratio']:.2f})")
            for row in alone
        ],
    )
    together = [row for row in rows if "batch" in row["params"]]
    names = {"ratio": "CPU over that of one filter", "cpu_ms_a_query": "CPU of a query, ms"}
    return [*table, *(_columns(together, "queries with a filter each", names) if together else [])]


def _by_share(first: str, cells: Sequence[tuple[LabeledRow, str, str]]) -> list[str]:
    """Return a table with a column for each share; a cell comes with its row and the first column of its line."""
    shares = sorted({row["params"]["share"] for row, _, _ in cells})
    lines: dict[tuple[str, str], dict[float, str]] = {}
    for row, name, cell in cells:
        lines.setdefault((name, row["params"]["filter"]), {})[row["params"]["share"]] = cell
    head = [first, "filter", *(f"{100 * share:g}% match" for share in shares)]
    found = [[*line, *(theirs.get(share, "") for share in shares)] for line, theirs in lines.items()]
    return markdown(head, found) if found else []


def _filtered_peers(rows: Rows) -> list[str]:
    """Return each peer's CPU time over ours, and both recalls, for each kind of filter and share of matches."""
    cells = []
    for row in rows:
        measured = row["measured"]
        if "our_cpu_ms" in measured:
            recalls = f"{measured['recall_at_10']:.2f} / {measured['our_recall_at_10']:.2f}"
            cells.append((row, row["params"]["engine"], f"{_ratio(measured['ratio'])} ({recalls})"))
    table = _by_share("peer", cells)
    missing = [f"- {row['case']}: {row['note']}" for row in rows if row["case"].endswith(", failed")]
    return [*table, *missing, *([""] if missing else [])]


def _embedded(rows: Rows) -> list[str]:
    names = {"images_per_s": "images/s", "pipeline_images_per_s": "pipeline, images/s", "speedup": "times as fast"}
    return _columns(rows, "case", {**names, "share_of_matrix_peak": "share of the matrix peak"})


def _kmeans(rows: Rows) -> list[str]:
    return _columns(rows, "case", {"seconds": "s", "speedup": "times as fast", "inertia_ratio": "inertia over theirs"})


def _overload(rows: Rows) -> list[str]:
    return [line for row in rows for line in markdown([row["case"], ""], _pairs(row))]


def _pairs(row: LabeledRow) -> list[list[str]]:
    return [[name.replace("_", " "), format_value(value)] for name, value in row["measured"].items()]


def _experiments(rows: Rows) -> list[str]:
    return _columns(rows, "experiment", {"seconds": "s", "peak_rss_mib": "peak memory, MiB"})


def _explorer(rows: Rows) -> list[str]:
    return _columns(rows, "step", {"p50_ms": "p50, ms", "p95_ms": "p95, ms"})


def _columns(rows: Rows, first: str, columns: dict[str, str]) -> list[str]:
    """Return a line for each row that has any of the columns; columns without any value are left out."""
    found = [row for row in rows if columns.keys() & row["measured"].keys()]
    used = [name for name in columns if any(name in row["measured"] for row in found)]
    lines = [[row["case"], *(format_value(row["measured"].get(name)) for name in used)] for row in found]
    return markdown([first, *(columns[name] for name in used)], lines)


def _graph(rows: Rows) -> list[str]:
    columns = {
        "cpu_s": "processor s",
        "seconds": "s",
        "neighbors_per_s": "neighbors/s",
        "share_of_matrix_peak": "share of the matrix peak",
    }
    recalls = sorted({name for row in rows for name in row["measured"] if name.startswith("recall_at_")})
    named = {name: name.replace("recall_at_", "recall@") for name in recalls}
    ratios = {"cpu_ratio": "processor time over theirs", "time_ratio": "time over theirs"}
    # A table of times and one of ratios.
    return [*_columns(rows, "graph", {**columns, **named}), *_columns(rows, "ours over theirs", ratios)]


QUESTIONS = (
    Question(
        "How fast is a search, and at which recall?",
        "search",
        "Queries a second, one query at a time / in batches of 64. An index that does not reach a recall has a dash.",
        _search,
        ("search-",),
    ),
    Question(
        "How does it compare with other engines?",
        "peers",
        "Our queries a second divided by those of the peer, at equal recall@10, with the same vectors and threads."
        "\nAbove 1, Lookalike is faster. Libraries are compared with our index in a process, servers with our service.",
        _peers,
        ("peers",),
    ),
    Question(
        "How far is it ahead of the best of them?",
        "peers",
        "The least of these ratios at each recall, and the peer that it is to. The aim is 2. Rows of processor time"
        "\ndivide that of a peer's query by that of ours, which other programs on the machine hardly change.",
        _best_peers,
    ),
    Question("What does each engine need to hold the vectors?", "peers", "", _built),
    Question(
        "How fast does the service answer?",
        "serve",
        "Each caller sends its next call when the last one is answered.",
        _served,
        ("serve-",),
    ),
    Question(
        "What happens under overload?",
        "overload",
        "Calls arrive at several times the rate that the server can answer.",
        _overload,
    ),
    Question("How does it grow with the number of images?", "scale", "", _growth, ("scale-time",)),
    Question("How much memory does it need?", "scale", "", _memory, ("scale-memory",)),
    Question("How fast does it embed images?", "embed", "", _embedded),
    Question("How fast is k-means?", "kmeans", "", _kmeans),
    Question(
        "What does a filter cost, and does recall hold?",
        "filters",
        "CPU time of a filtered search divided by that of the same search without a filter, one query at a time; in"
        "\nbrackets its recall@10 divided by that. Then 64 queries in a batch, with a filter each.",
        _filters,
    ),
    Question(
        "How does it compare with other engines under filters?",
        "filters",
        "CPU time of a peer's filtered search divided by that of ours, one query at a time, each at the least effort"
        "\nthat reaches a recall@10 of 0.95; in brackets the recall of the peer and ours. Above 1, ours needs less."
        "\nAll engines hold the same vectors and columns, with an index of the columns. A random filter is a range of"
        "\nnumbers. Near and far filters name the classes nearest to the query or farthest from it. Each engine has"
        "\nseen a filter before it is timed.",
        _filtered_peers,
    ),
    Question(
        "How fast is the graph of all nearest neighbors?",
        "graph",
        "Lookalike reads and writes Parquet; the others have the vectors in memory. Each peer has the least effort that"
        "\nreaches a recall of 0.95. Processor seconds are those of all threads, which other programs on the machine"
        "\nhardly change. Below 1, Lookalike needs less. pynndescent compiles its functions when a process starts.",
        _graph,
    ),
    Question(
        "How fast are changes of a served collection?",
        "live",
        "Vectors are added to a server with `--writable`. A change is answered once it is on the disk.",
        _live,
    ),
    Question("How long do experiments take?", "experiments", "", _experiments),
    Question("How fast is the explorer?", "explorer", "Measured in a headless browser.", _explorer),
)
