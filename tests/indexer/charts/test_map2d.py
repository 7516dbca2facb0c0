from __future__ import annotations

import numpy as np
from PIL import Image

from lookalike_indexer.charts.figures import png
from lookalike_indexer.charts.map2d import Map, centers, grid_cells, points, thumbnails
from lookalike_indexer.charts.palette import palette


def test_every_image_has_its_own_cell_near_its_place():
    generator = np.random.default_rng(3)
    places = generator.standard_normal((150, 2)) * [2, 1]
    cells, columns, rows = grid_cells(places)
    assert len({tuple(cell) for cell in cells.tolist()}) == 150
    assert (cells >= 0).all()
    assert (cells < [columns, rows]).all()
    # Columns follow x; rows go down from the highest y.
    assert np.corrcoef(cells[:, 0], places[:, 0])[0, 1] > 0.9
    assert np.corrcoef(cells[:, 1], places[:, 1])[0, 1] < -0.9


def test_images_in_one_place_do_not_overlap():
    cells, _, _ = grid_cells(np.zeros((9, 2)))
    assert len({tuple(cell) for cell in cells.tolist()}) == 9
    assert grid_cells(np.zeros((1, 2)))[1:] == (1, 1)


def test_thumbnails_are_drawn_where_they_belong():
    places = np.array([[0.0, 0.0], [9.0, 9.0]])
    chart = Map(places, ["a", ""], palette(["a"]), "label", "title")
    red, blue = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (20, 40), "blue")
    canvas = thumbnails(chart, lambda position: [red, blue][position], tile=50)
    # The second point is higher, and to the right.
    where = {name: np.argwhere((np.asarray(canvas) == color).all(2)).mean(0) for name, color in COLORS.items()}
    assert where["blue"][0] < where["red"][0]
    assert where["blue"][1] > where["red"][1]
    # Nothing touches the edges of the chart.
    inside = np.asarray(canvas)[8:-8, 8:-8]
    assert (inside != canvas.getpixel((0, 0))).any()
    assert np.count_nonzero(np.asarray(canvas) != canvas.getpixel((0, 0))) == np.count_nonzero(
        inside != canvas.getpixel((0, 0))
    )
    without = thumbnails(chart, lambda position: None, tile=50)
    assert not (np.asarray(without) == (255, 0, 0)).all(2).any()


COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def test_categories_without_a_color_are_gray():
    chart = Map(np.zeros((2, 2)), ["a", "b"], {"b": "#ff0000"}, "label", "title")
    assert (np.asarray(thumbnails(chart, lambda position: None)) == (255, 0, 0)).all(2).any()
    assert [text.get_text().strip() for text in points(chart).legends[0].get_texts()] == ["other (1)", "b (1)"]


def test_names_stand_at_an_image_in_the_middle_of_their_clusters():
    places = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 1.0], [9.0, 9.0], [5.0, 5.0]])
    names = centers(places, np.array([0, 0, 0, 1, -1]), ["clothing", "tench", "empty", ""])
    assert names == [("clothing", 2.0, 0.0), ("tench", 9.0, 9.0)]
    drawn = points(Map(places, [""] * 5, {}, "label", "title", names)).axes[0].texts
    assert [(text.get_text(), text.xy) for text in drawn] == [("clothing", (2, 0)), ("tench", (9, 9))]


def test_points_have_a_legend_with_counts():
    categories = ["a", "b", "b", "", "$x$"]
    figure = points(Map(np.random.default_rng(0).random((5, 2)), categories, palette(categories), "label", "title"))
    (legend,) = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["other (1)", "b (2)", r"\$x\$ (1)", "a (1)"]
    assert png(figure) == png(figure)


def test_names_stand_beside_the_middle_of_their_points():
    places = np.array([[0.0, 0.0], [0.2, 0.0], [9.0, 9.0], [9.0, 9.0]])
    categories = ["n01440764_tench", "n01440764_tench", "cat", "cat"]
    figure = points(Map(places, categories, palette(categories), "label", "title"))
    assert {text.get_text(): text.xy for text in figure.axes[0].texts} == {"cat": (9.0, 9.0), "tench": (0.1, 0.0)}


def test_no_name_hides_the_points_that_it_names():
    generator = np.random.default_rng(5)
    middles = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    places = np.repeat(middles, 25, axis=0) + generator.normal(0, 0.02, (100, 2))
    categories = [
        name for name in ("laptop", "dollar_bill", "mixed: brain / crayfish / butterfly", "panda") for _ in "x" * 25
    ]
    figure = points(Map(places, categories, palette(categories), "label", "title"))
    (axis,) = figure.axes
    dots = axis.transData.transform(places)
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == 4
    assert not any(box.contains(*dot) for box in boxes for dot in dots)
    assert "mixed: brain / crayfish /\nbutterfly" in [text.get_text() for text in axis.texts]


def test_names_on_the_map_do_not_overlap():
    generator = np.random.default_rng(6)
    names = [(f"the cluster {number}", *generator.random(2).tolist()) for number in range(300)]
    places = generator.random((300, 2))
    figure = points(Map(places, [""] * 300, {}, "label", "title", names))
    (axis,) = figure.axes
    boxes = [text.get_window_extent() for text in axis.texts]
    assert 20 < len(boxes) < 300
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])
    assert all((box.min >= axis.bbox.min).all() and (box.max <= axis.bbox.max).all() for box in boxes)


def test_hundred_classes_are_distinguished_by_colors_and_markers():
    categories = [f"class {number:02d}" for number in range(99)]
    figure = points(Map(np.random.default_rng(0).random((99, 2)), categories, palette(categories), "label", "title"))
    (axis,) = figure.axes
    drawn = {(tuple(part.get_facecolor()[0]), part.get_paths()[0].vertices.tobytes()) for part in axis.collections}
    assert len(drawn) == 99
    assert len(figure.legends[0].get_texts()) == 99
