"""Chart of the measures of each number of clusters."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lookalike_indexer.charts.figures import short
from lookalike_indexer.collection.metrics import heading
from lookalike_indexer.experiments.result import Result

_PANELS = {
    "silhouette": "{silhouette}, highest",
    "inertia": "inertia (squared Euclidean), at its elbow",
    "stability": "stability under reseeding (ARI), highest",
    "davies_bouldin": "Davies-Bouldin (Euclidean), lowest",
    "calinski_harabasz": "Calinski-Harabasz (squared Euclidean), highest",
}
# The numbers by other routes, see `experiments.suggestions`.
_ROUTES = {"communities": "-", "classes": "-.", "meanings": ":"}


def choose_k_chart(result: Result) -> Figure:
    """Draw each measure by number of clusters, with the choice of its rule and the recommendation."""
    columns = result.tables["k"].to_pydict()
    rules = dict(zip(*(result.tables["rules"].column(name).to_pylist() for name in ("rule", "k")), strict=True))
    recommended = int(result.figures["recommended"])
    routes = result.tables["routes"].to_pylist() if "routes" in result.tables else []
    figure = Figure(figsize=(10, 11), layout="constrained")
    figure.suptitle(short(f"{result.settings['space']}: {recommended} clusters have the highest silhouette", 120))
    axes = figure.subplots(len(_PANELS), 1, sharex=True)
    for axis, (name, told) in zip(axes, _PANELS.items(), strict=True):
        said = rules["elbow" if name == "inertia" else name]
        told = told.format(silhouette=heading("silhouette", result.settings.get("metric")))
        axis.plot(columns["k"], columns[name], marker="o", markersize=3, color="tab:blue")
        axis.axvline(recommended, color="tab:green", linestyle="--", linewidth=1)
        for route in routes:
            style = _ROUTES[route["route"]]
            axis.axvline(route["k"], color="tab:orange", linestyle=style, linewidth=1)
        axis.plot([said], [columns[name][columns["k"].index(said)]], "o", markersize=9, mfc="none", mec="tab:red")
        axis.set_title(f"{told}: {said}", fontsize=10, loc="left")
        axis.grid(alpha=0.3)
    told = "clusters; green: recommended, ringed: each rule's choice"
    if routes:
        said = ", ".join(f"{route['route']} {route['k']}" for route in routes)
        told += f"; orange: other routes ({said})"
    axes[-1].set_xlabel(told)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
