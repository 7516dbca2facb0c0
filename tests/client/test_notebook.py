"""Results in a notebook, and as tables of pandas and pyarrow."""

import copy
import importlib
import pickle
from html.parser import HTMLParser

import numpy as np
import pandas
import pyarrow
import pytest

import lookalike
from lookalike._neighbors import Neighbors

EVIL = "<script>alert(1)</script>\"'&‮.jpg"


class Shown(HTMLParser):
    """Collects the tags, attributes and texts of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += f"{data} "

    @property
    def pictures(self) -> list[str]:
        return [value for name, value in self.attributes if name == "src"]


def shown(result) -> Shown:
    return Shown(result._repr_html_())


class TestPictures:
    def test_neighbors_show_thumbnails_keys_labels_and_distances(self, client):
        page = shown(client.search(key="dogs/01.jpg", k=3))
        assert len(page.pictures) == 3
        assert all(src.startswith("data:image/jpeg;base64,") for src in page.pictures)
        for told in ("dogs/00.jpg", "dogs", "0.01519", "circle, generation 1"):
            assert told in page.text

    def test_parts_of_a_result_show_theirs(self, client):
        batch = client.search(ids=[0, 9], k=2)
        assert len(shown(batch).pictures) == 4
        assert len(shown(batch[1]).pictures) == len(shown(batch[:1]).pictures) == 2
        home = client.clusters(key="cats/09.jpg", members=2)
        for part in (home, home[0], home["toy/halves"], home[0].nearest, home[:1]):
            assert len(shown(part).pictures) == 2
        assert len(shown(client.lookup(ids=[3, 8])).pictures) == 2

    def test_image_with_a_missing_file_is_listed_without_a_thumbnail(self, client):
        page = shown(client.lookup(ids=[9, 10]))
        assert len(page.pictures) == 1
        assert "other/ünï 10.jpg" in page.text

    def test_reassigned_id_shows_no_thumbnail(self, toy, client):
        near = client.search(key="dogs/01.jpg", k=2)

        def renamed(method, reply):
            if method == "GetImages":
                reply.images.keys[0] = "something else"

        toy.change = renamed
        assert len(shown(near).pictures) == 1

    def test_only_shown_thumbnails_are_fetched(self, toy, client):
        near = client.search(key="dogs/01.jpg", k=3)
        assert toy.calls == ["Search"]
        shown(near)
        assert toy.calls == ["Search", "GetImages", "GetThumbnails"]

    def test_missing_thumbnails_are_explained(self, toy):
        with lookalike.Client(toy.address) as client:
            near = client.search(key="dogs/01.jpg", k=3)
        page = shown(near)
        assert page.pictures == []
        assert "No images: The client of" in page.text
        assert "dogs/00.jpg" in page.text

    def test_copies_leave_the_client_behind(self, client):
        near = client.search(key="dogs/01.jpg", k=3)
        for twin in (copy.copy(near), pickle.loads(pickle.dumps(near))):  # noqa: S301
            assert twin.keys == near.keys
            assert shown(twin).pictures == []

    def test_attribution_is_an_image(self, client):
        page = shown(client.attribution(key="dogs/01.jpg"))
        assert page.pictures[0].startswith("data:image/png;base64,")
        assert "Newfoundland" in page.text

    def test_list_shows_its_first_page(self, toy):
        with lookalike.Client(toy.address) as client:
            page = shown(client.images(page_size=4))
            assert "The first 4 of 11" in page.text
            assert len(page.pictures) == 4
            assert "The first 2 of 5" in shown(client.members("toy/halves", 1, page_size=2)).text


class TestText:
    def test_experiments_show_findings_figures_and_tables(self, client):
        page = shown(client.class_matrix())
        for told in ("class_matrix", "Every label has a cluster of its own.", "purity", "counts: 2 rows", "dogs"):
            assert told in page.text
        assert "map/toy" in shown(client.results()).text
        assert "Two arcs." in shown(client.result("map/toy")).text
        assert "Two arcs." in shown(client.results()[0]).text

    @pytest.mark.parametrize(
        "ask",
        [
            lambda c: c.info(),
            lambda c: c.server_info(),
            lambda c: c.list_clusters("toy/halves"),
            lambda c: c.clusters(ids=[0, 9]),
            lambda c: c.thumbnails([0]),
            lambda c: c.class_matrix().tables["counts"],
            lambda c: c.clusters(id=10),
        ],
    )
    def test_every_result_shows_itself(self, client, ask):
        assert shown(ask(client)).tags[0] == "div"

    def test_untrained_weights_and_notes_are_reported(self, toy, client):
        toy.pretrained = False
        assert "UNTRAINED" in shown(client.search(id=0)).text

    def test_names_are_escaped(self, toy, client):
        def rename(method, reply):
            if method == "Search":
                reply.neighbors.keys[0] = EVIL
                reply.neighbors.labels[0] = EVIL
            if method == "GetClassMatrix":
                reply.result.findings[0] = EVIL
                reply.result.tables[0].columns[0].texts.values[0] = EVIL
                reply.result.tables[0].name = EVIL
                reply.served.collection = EVIL

        toy.change = rename
        for result in (client.search(id=0, k=2), client.search(ids=[0, 1], k=2), client.class_matrix()):
            page = shown(result)
            assert not {"script", "iframe", "style", "link"} & set(page.tags)
            assert EVIL in page.text
            assert {name for name, _ in page.attributes} <= {"style", "src", "alt", "title", "open"}

    def test_reports_how_many_rows_are_left_out(self, client):
        near = client.search(id=0, k=10)
        many = Neighbors(
            np.tile(near.ids, 10), near.keys * 10, near.labels * 10, np.tile(near.distances, 10), None, near.served
        )
        assert "... and 40 more" in shown(many).text
        table = lookalike.Table(50, {"x": np.arange(50)})
        assert "... and 30 more rows" in shown(table).text


class TestSlices:
    def test_slice_is_of_the_same_kind(self, client):
        near = client.search(id=0, k=5)
        assert near[1:3].keys == near.keys[1:3]
        assert near[-2:].distances.tolist() == near.distances[-2:].tolist()
        assert len(near[3:3]) == 0
        members = client.clusters(id=0, members=4)[0].nearest
        assert members[:2].margins.tolist() == members.margins[:2].tolist()
        assert client.lookup(ids=[3, 8, 1])[::2].keys == ("dogs/03.jpg", "dogs/01.jpg")
        assert len(client.thumbnails([0, 1, 2])[1:]) == 2

    def test_slice_of_a_batch_keeps_each_query_with_its_neighbors(self, toy, client):
        batch = client.search(ids=[0, 4, 9], k=3, uris=True)
        part = batch[::-2]
        assert [near.keys for near in part] == [batch[2].keys, batch[0].keys]
        assert [near.uris for near in part] == [batch[2].uris, batch[0].uris]
        assert part.offsets.tolist() == [0, 3, 6]
        assert not part.ids.flags.writeable

    def test_errors_move_with_their_rows(self, client):
        batch = client.search(images=[b"no picture", np.zeros((4, 4, 3), np.uint8)], k=1, errors="rows")
        assert list(batch.errors) == [0]
        assert batch[1:].errors == {}
        assert list(batch[::-1].errors) == [1]
        homes = client.clusters(images=[b"no picture", np.zeros((4, 4, 3), np.uint8)], errors="rows")
        assert list(homes[::-1].errors) == [1]
        assert homes[::-1].clusters[1].tolist() == [-1]

    def test_clusters_keep_their_numbers(self, client):
        clusters = client.list_clusters("toy/halves")
        assert clusters[1:][0] == clusters[1]
        assert clusters[1:][0].cluster == 1

    def test_table_gives_some_of_its_rows(self, client):
        counts = client.class_matrix().tables["counts"]
        assert counts[1:].records() == counts.records()[1:]
        assert len(counts[1:]) == len(counts) == 3


class TestMetrics:
    def test_every_distance_has_the_name_of_its_metric(self, client):
        near = client.search(id=0, k=3)
        assert near.metric == client.search(ids=[0, 1], k=3)[1:].metric == "cosine"
        assert "nearest first, by cosine distance" in shown(near).text
        home = client.clusters(id=0, members=2)
        assert (home.metrics, home[0].metric, home[0].nearest.metric) == (("l2",), "l2", "l2")
        assert client.clusters(ids=[0, 1])[1:].metrics == ("l2",)
        assert "Euclidean distance 0." in shown(home).text
        assert "by Euclidean distance" in shown(home[0].nearest[:1]).text
        clusters = client.list_clusters("toy/halves")
        assert (clusters.metric, clusters[1:].metric) == ("l2", "l2")
        assert "mean_distance (Euclidean)" in shown(clusters).text
        table = lookalike.Table(2, {"silhouette": np.array([0.1, 0.2]), "size": np.array([3, 4])}, "cosine")
        assert "silhouette (cosine)" in shown(table[1:]).text
        assert "size (" not in shown(table).text


class TestTables:
    @pytest.mark.parametrize(
        ("ask", "columns", "rows"),
        [
            (lambda c: c.search(id=0, k=3), ["id", "key", "label", "distance"], 3),
            (lambda c: c.search(ids=[0, 1], k=3, uris=True), ["query", "id", "key", "label", "distance", "uri"], 6),
            (lambda c: c.clusters(id=0), ["clustering", "cluster", "metric", "distance", "margin", "size"], 1),
            (
                lambda c: c.clusters(ids=[0, 1]),
                ["query", "clustering", "cluster", "metric", "distance", "margin", "size"],
                2,
            ),
            (lambda c: c.clusters(id=0, members=2)[0].nearest, ["id", "key", "label", "distance", "margin"], 2),
            (lambda c: c.list_clusters("toy/halves"), ["cluster", "size", "mean_distance"], 2),
            (lambda c: c.lookup(ids=[3, 10]), ["id", "key", "label", "uri", "width", "height"], 2),
            (lambda c: c.thumbnails([0, 10]), ["jpeg"], 2),
            (lambda c: c.class_matrix().tables["counts"], ["label", "images", "cluster"], 2),
        ],
    )
    def test_become_frames_and_arrow_tables(self, client, ask, columns, rows):
        result = ask(client)
        frame, table = result.to_pandas(), result.to_arrow()
        assert list(frame.columns) == table.column_names == columns
        assert len(frame) == table.num_rows == rows

    def test_values_and_types_are_kept(self, client):
        table = client.lookup(ids=[3, 10]).to_arrow()
        assert table.schema.field("id").type == pyarrow.int64()
        assert table.column("label").to_pylist() == ["dogs", None]
        near = client.search(id=0, k=3)
        assert near.to_arrow().column("distance").to_pylist() == near.distances.tolist()
        frame = near.to_pandas()
        assert isinstance(frame, pandas.DataFrame)
        frame.loc[0, "distance"] = 5.0  # a copy: the result's own arrays are read-only
        assert near.distances[0] < 1

    def test_lists_and_numbers_in_rows(self):
        columns = {"pair": np.arange(6).reshape(3, 2), "list": (np.array([1]), np.array([], np.int64), None)}
        table = lookalike.Table(3, {**columns, "none": (None, None, None)})
        assert table.to_arrow().to_pylist()[:2] == [
            {"pair": [0, 1], "list": [1], "none": None},
            {"pair": [2, 3], "list": [], "none": None},
        ]
        assert table.to_pandas()["pair"][2].tolist() == [4, 5]

    def test_experiment_gives_each_of_its_tables(self, client):
        matrix = client.class_matrix()
        assert list(matrix.to_pandas()) == list(matrix.to_arrow()) == ["counts"]
        assert matrix.to_pandas()["counts"]["images"].tolist() == [5, 5]

    def test_list_gives_all_of_its_pages(self, toy):
        with lookalike.Client(toy.address) as client:
            assert client.images(page_size=4).to_pandas()["id"].tolist() == list(range(11))
            assert client.images(page_size=4).to_arrow().num_rows == 11

    @pytest.mark.parametrize(("method", "library"), [("to_pandas", "pandas"), ("to_arrow", "pyarrow")])
    def test_says_what_to_install(self, client, monkeypatch, method, library):
        def absent(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        near = client.search(id=0)
        monkeypatch.setattr(importlib, "import_module", absent)
        with pytest.raises(ImportError, match=f"{method} needs {library}, .*: pip install {library}"):
            getattr(near, method)()
