from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from lookalike_indexer.cli.attach import attach
from lookalike_indexer.cli.graph import graph
from lookalike_indexer.cli.quality import quality
from lookalike_indexer.cli.report import report
from lookalike_indexer.cli.sample import sample
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.matrix import class_matrix
from lookalike_indexer.experiments.view import View
from lookalike_indexer.report.chapter import Chapter, grid
from lookalike_indexer.report.context import Context, Examples
from lookalike_indexer.report.of_images import explained
from lookalike_indexer.report.of_sets import leaked, near_duplicates, poor_pictures, spread_out, wrong_labels
from lookalike_indexer.report.of_spaces import number_of_clusters
from lookalike_indexer.report.page import page
from lookalike_indexer.report.plans import PLANS

# On one worker of pytest-xdist: each worker would make the collection anew.
pytestmark = pytest.mark.xdist_group("report")


def made(collection: str, out: Path, *options: str) -> str:
    done = CliRunner().invoke(report, [collection, "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    return done.output


def opened(browser: Browser, file: Path) -> tuple[Page, list[str], list[str]]:
    """Open the page; return it with its console output and its requests."""
    said: list[str] = []
    asked: list[str] = []
    tab = browser.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri(), wait_until="load", timeout=120_000)
    return tab, said, [url for url in asked if not url.startswith(("data:", file.as_uri()))]


@pytest.fixture(scope="module")
def labeled_report(labeled: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The report of the labeled collection, and the command's output."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    return file, made(labeled, file)


def test_report_renders_fully_without_network_requests(labeled_report: tuple[Path, str], browser: Browser):
    file, told = labeled_report
    # The labels are no classes of ImageNet, and there are no checkpoints.
    assert re.findall(r"^Not made: (\d+)", told, flags=re.MULTILINE) == ["2", "8", "10", "13", "14", "15", "16"]
    assert file.stat().st_size < 5_000_000
    tab, said, asked = opened(browser, file)
    assert said == []
    assert asked == []
    images = tab.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth])")
    assert len(images) >= 10
    assert all(complete and width > 100 for complete, width in images)
    assert tab.locator("section").count() == len(PLANS)
    # The style applies, since the policy names its digest.
    assert tab.evaluate("getComputedStyle(document.querySelector('.missing')).borderLeftWidth") == "4px"
    assert tab.evaluate("document.querySelectorAll('script').length") == 0
    assert tab.evaluate("document.body.scrollWidth <= window.innerWidth")
    tab.close()


def test_report_numbers_equal_those_of_the_experiment(labeled: str, labeled_report: tuple[Path, str], browser: Browser):
    tab, _, _ = opened(browser, labeled_report[0])
    result = class_matrix(View(CollectionReader.open(labeled)))
    chapter = tab.locator("#chapter-3")
    facts = dict(zip(chapter.locator("dt").all_text_contents(), chapter.locator("dd").all_text_contents(), strict=True))
    assert facts["purity"] == f"{result.figures['purity']:.3g}"
    assert facts["nmi"] == f"{result.figures['nmi']:.3g}"
    assert chapter.locator(".findings li").all_text_contents() == list(result.findings)
    rows = chapter.locator("details").first.locator("tbody tr")
    assert rows.count() == 3
    assert [rows.nth(number).locator("td").first.text_content() for number in range(3)] == ["a", "b", "c"]
    tab.close()


def test_numbers_of_a_column_align_and_are_never_broken():
    table = pa.table({"label": ["a", "b"], "images": [3, 12], "purity": [0.9, float("nan")], "k": [1234.5, 2.0]})
    made = grid("labels", table, table.column_names)
    assert made.rows == [["a", "3", "0.900", "1.23e+03"], ["b", "12", "\N{EN DASH}", "2"]]
    assert made.numeric == [False, True, True, True]
    html = page("one", "", {}, [Chapter(1, "Labels", "lookalike matrix", "", grids=[made])])
    assert '<td>a</td><td class="numeric">3</td><td class="numeric">0.900</td>' in html
    assert "td.numeric { white-space: nowrap; }" in html


def test_impossible_chapter_names_the_reason(unlabeled: str, tmp_path: Path):
    file = tmp_path / "report.html"
    told = made(unlabeled, file)
    assert "Not made: 3 Classes and clusters: No image of the collection small has a label" in told
    html = file.read_text("utf-8")
    assert "Not made: No image of the collection small has a label" in html
    assert "0 checkpoints, and an evolution needs two" in html


def test_failed_chapter_leaves_the_others(unlabeled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no <variance>")

    monkeypatch.setattr("lookalike_indexer.experiments.interpret.interpret_clusters", broken)
    file = tmp_path / "report.html"
    told = made(unlabeled, file)
    sentence = "it failed with ZeroDivisionError: no <variance>. This is a fault of Lookalike; please report it."
    assert f"Not made: 12 What each cluster is about: {sentence}" in told
    html = file.read_text("utf-8")
    assert "Not made: it failed with ZeroDivisionError: no &lt;variance&gt;." in html
    assert "Not made: 7 " not in told, "the others are made"


def test_same_collection_gives_the_same_bytes(labeled: str, labeled_report: tuple[Path, str], tmp_path: Path) -> None:
    made(labeled, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == labeled_report[0].read_bytes()


def test_names_are_never_markup():
    html = page("<script>alert(1)</script>", "<b>", {'"': "<img src=x>"}, [])
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<img" not in html


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(["--image", "none.png"], "has no image with key 'none.png'"), (["--label", "z"], "has the label 'z'")],
)
def test_wrong_example_is_rejected_immediately(labeled: str, tmp_path: Path, options: list[str], sentence: str):
    done = CliRunner().invoke(report, [labeled, "--out", str(tmp_path / "report.html"), *options])
    assert done.exit_code == 1
    assert sentence in " ".join(done.output.split())
    assert not (tmp_path / "report.html").exists()


def test_images_that_cannot_be_drawn_are_named_with_the_reason(weightless: str):
    context = Context(View(CollectionReader.open(weightless)), Examples())
    [tree] = number_of_clusters(context).left_out
    assert tree.startswith("Not drawn, the tree of the classes that the model sees (lookalike dendrogram): ")
    assert "sees too few classes in the images, 1" in tree
    [attributions] = explained(context).left_out
    assert attributions.startswith("Not drawn, --cam and --gbp: There is no weights file ")
    assert attributions.endswith("gone.pth.") or "--weights" in attributions


def test_spread_out_sample_has_a_chapter_with_the_numbers_of_the_command(labeled: str):
    made = spread_out(Context(View(CollectionReader.open(labeled)), Examples(seed=7)))
    done = CliRunner().invoke(sample, [labeled, "-n", "18", "--seed", "7", "--json"])
    told = json.loads(done.output)
    assert made.result.tables["images"].column("key").to_pylist() == [row["key"] for row in told["tables"]["images"]]
    assert made.result.figures == told["figures"]
    assert len(made.pictures) == 1


def test_state_of_a_set_has_its_chapters(labeled: str, tmp_path: Path):
    copy = tmp_path / "small"
    shutil.copytree(labeled, copy)
    (tmp_path / "folds.csv").write_text(
        "key,fold\n" + "".join(f"{label}/{number:02d}.png,{number % 2}\n" for number, label in enumerate("abc" * 6))
    )
    for command, arguments in (
        (graph, ["-k", "5"]),
        (quality, ["--workers", "1"]),
        (attach, [str(tmp_path / "folds.csv"), "--key", "key", "--type", "fold=string"]),
    ):
        done = CliRunner().invoke(command, [str(copy), *arguments])
        assert done.exit_code == 0, done.output
    context = Context(View(CollectionReader.open(str(copy))), Examples())
    for make, table in (
        (near_duplicates, "groups"),
        (leaked, "splits"),
        (wrong_labels, "labels"),
        (poor_pictures, "flags"),
    ):
        made = make(context)
        assert table in made.tables
        assert made.result.findings
        listed = {"groups": "groups", "splits": "leaks", "labels": "issues", "flags": "images"}[table]
        assert len(made.pictures) == (made.result.tables[listed].num_rows > 0)
    flags = poor_pictures(context)
    # Images of five by six random pixels, enlarged to sixty by fifty.
    assert (
        dict(zip(*(flags.result.tables["flags"].column(name).to_pylist() for name in ("flag", "images")), strict=True))[
            "tiny"
        ]
        == 18
    )
    assert len(flags.pictures) == 1
