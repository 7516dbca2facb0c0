from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lookalike_indexer.charts.bars import BarStyle, bars
from lookalike_indexer.charts.figures import png, short, short_names
from lookalike_indexer.charts.heatmap import Axes, heatmap
from lookalike_indexer.charts.matrix import matrix_figures
from lookalike_indexer.charts.mistakes import confusion_figure
from lookalike_indexer.experiments.result import Result

AWKWARD = ["$x$ and \\alpha", "日本語", "_hidden", "a\nb", "y" * 300]


def pixels(figure: object) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(figure, dpi=50))).convert("RGB"))


def test_same_matrix_gives_the_same_bytes():
    matrix = np.arange(12).reshape(3, 4)
    drawn = [png(heatmap(matrix, list("abc"), list("wxyz"), Axes("counts", "label", "cluster"))) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_higher_values_have_other_colors():
    low, high = (pixels(heatmap([[0, 0], [0, value]], "ab", "cd", Axes(vmax=9))) for value in (0, 9))
    assert (low != high).any(axis=2).mean() > 0.05


@pytest.mark.parametrize("size", [1, 31, 200])
def test_matrices_of_any_size_fit(size: int):
    names = [f"name {number}" for number in range(size)]
    drawn = pixels(heatmap(np.eye(size), names, names))
    assert max(drawn.shape) <= 22 * 50


@pytest.mark.parametrize(("size", "written"), [(30, True), (99, True), (101, False)])
def test_large_cells_show_their_numbers(size: int, written: bool):
    names = [f"name {number}" for number in range(size)]
    assert len(heatmap(np.eye(size), names, names).axes[0].texts) == (size if written else 0)


def test_count_scales_have_integer_ticks_and_many_columns_vertical_names():
    names = [str(number) for number in range(90)]
    figure = heatmap(20 * np.eye(90), names, names, Axes(values="images"))
    figure.draw_without_rendering()
    axis, scale = figure.axes
    assert all(tick == int(tick) for tick in scale.get_yticks())
    assert {label.get_rotation() for label in axis.get_xticklabels()} == {90.0}
    few = heatmap(np.eye(9), names[:9], names[:9], Axes(values="share", number="{:.2f}"))
    few.draw_without_rendering()
    assert {label.get_rotation() for label in few.axes[0].get_xticklabels()} == {0.0}
    assert any(tick != int(tick) for tick in few.axes[1].get_yticks())


def test_too_many_names_are_counted():
    names = [f"name {number}" for number in range(151)]
    axis = heatmap(np.eye(151), names, names, Axes(rows="label", columns="class")).axes[0]
    assert (axis.get_ylabel(), axis.get_xlabel()) == (
        "label (151, too many to name)",
        "class (151, too many to name)",
    )


def test_confusion_table_names_missing_counts():
    def drawn(labels: int, others: int) -> str:
        lines = [(f"label {number}", number, 5, True) for number in range(labels)]
        lines += [(f"label {number % labels}", labels + number, 1, False) for number in range(others)]
        names = ("label", "class_index", "count", "right")
        table = pa.Table.from_pylist([dict(zip(names, line, strict=True)) for line in lines])
        table = table.append_column("class", pa.array([f"class {index}" for _, index, _, _ in lines]))
        figures = {"wrong": float(others), "images": 5.0 * labels + others}
        result = Result("mistakes", {"model": "a"}, {"confusion": table}, figures)
        return str(confusion_figure(result, "confusion.csv").axes[0].get_xlabel())

    assert drawn(4, 9) == "predicted class"
    assert drawn(4, 60) == "predicted class\n35 other classes are one column; confusion.csv has every count"
    assert drawn(120, 3) == "predicted class\ncells are too small for numbers; confusion.csv has every count"


def test_names_are_taken_literally():
    pixels(heatmap(np.eye(5), AWKWARD, AWKWARD, Axes(AWKWARD[0])))
    pixels(bars(AWKWARD, {name: range(5) for name in AWKWARD}, BarStyle(AWKWARD[1])))
    assert short("$x$") == r"\$x\$"
    assert len(short("y" * 300)) == 32
    # The names of spaces differ at their end.
    assert short("agglomerative, resnet18.layer4.top10") == "agglomerative, r…18.layer4.top10"
    # All captions treat WordNet numbers alike, whatever their width.
    assert short("n02102040_english_springer_spaniel_1") == "english_springer_spaniel_1"
    assert short("n02102040_english_springer") == "english_springer"
    assert short("n02102040_10026.JPEG") == "n02102040_10026.JPEG"


def test_class_names_keep_distinguishing_numbers():
    names = ["n02012849_crane", "n03126707_crane", "n01440764_tench"]
    assert short_names(names) == ["n02012849_crane", "n03126707_crane", "tench"]


def test_bars_stand_side_by_side_or_behind_each_other():
    series = {"first": [1, 2], "other": [3, float("nan")]}
    beside = bars(["a", "b"], series).axes[0].patches
    assert [(bar.get_x(), bar.get_width()) for bar in beside] == [(0, 1), (0, 2), (0, 3), (0, 0)]
    behind = bars(["a", "b"], series, BarStyle(stacked=True)).axes[0].patches
    assert [(bar.get_x(), bar.get_width()) for bar in behind] == [(0, 1), (0, 2), (1, 3), (2, 0)]
    assert len({bar.get_y() for bar in beside}) == 4
    assert len({bar.get_y() for bar in behind}) == 2


def test_too_many_bars_are_cut_with_a_notice():
    figure = bars([f"name {number}" for number in range(300)], {"n": range(300)}, BarStyle("Sizes"))
    assert len(figure.axes[0].patches) == 120
    assert figure.axes[0].get_title() == "Sizes (the first 120 of 300)"


def test_counts_have_whole_ticks_and_an_empty_other_is_left_out():
    series = {"largest": [5, 9], "second": [3, 1], "other": [0, 0]}
    figure = bars(["a", "b"], series, BarStyle(values="images", stacked=True, whole=True))
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["largest", "second"]


def test_cluster_has_the_color_of_its_main_class():
    counts = {"label": list("aabc"), "cluster": [2, 0, 1, 1], "count": [3, 1, 4, 2]}
    clusters = {"cluster": [0, 1, 2], "position": [1, 2, 0], "label": ["a", "b", "a"]}
    labels = {"label": list("abc"), "share": [0.75, 1.0, 1.0], "images": [4, 4, 2], "position": [0, 1, 2]}
    tables = {"counts": pa.table(counts), "clusters": pa.table(clusters), "labels": pa.table(labels)}
    figures = dict.fromkeys(("purity", "nmi", "ari"), 0.5)
    drawn = matrix_figures(Result("class_matrix", {"clustering": "net/k3"}, tables, figures))

    def colors(name: str) -> dict[str, object]:
        legend = drawn[name].legends[0]
        patches = zip(legend.get_texts(), legend.get_patches(), strict=True)
        return {text.get_text().strip(): patch.get_facecolor() for text, patch in patches}

    of_label, of_cluster = colors("clusters"), colors("classes")
    assert of_cluster["b 1"] == of_label["b"]
    # The first cluster of a class has the class's color, a further one a color of no class.
    assert of_cluster["a 2"] == of_label["a"]
    assert of_cluster["a 0"] not in of_label.values()
    assert len(set(of_cluster.values())) == 3
