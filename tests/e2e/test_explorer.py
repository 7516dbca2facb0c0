"""The page in a real browser, with a real server and real images."""

from __future__ import annotations

import base64
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from click.testing import CliRunner
from tests.e2e.reverse_proxy import proxied

from lookalike import local_secret
from lookalike_indexer.cli.attach import attach
from lookalike_indexer.collection.deletion import delete
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.experiments.map2d import map2d
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.experiments.stored_results import store_result
from lookalike_indexer.experiments.view import View

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe: pip install 'lookalike[dev]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'lookalike[dev]'")
expect = sync_api.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# Software WebGL, so that the map is drawn on any machine.
FLAGS += ["--use-gl=angle", "--use-angle=swiftshader", "--disable-dev-shm-usage"]
CLASSES, EACH, CLUSTERS = 6, 6, 6
# Long labels, which must fit wherever short ones do.
LONG = {
    "english_springer": "Rindfleischetikettierungsueberwachungsaufgabenuebertragungsgesetz",
    "church": "a_place_of_worship_of_which_somebody_wrote_down_all_there_is_to_say_before_giving_it_a_name",
}
# A label with its WordNet number, which the page leaves out.
LONG["cassette_player"] = NUMBERED = "n02979186_cassette_player"
STEPS = ["step0", "step10", "step100"]
PATIENCE_MS = 150_000

pytestmark = [
    pytest.mark.xdist_group("explorer"),
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on PATH"),
]


def lookalike(*arguments: object) -> None:
    command = [sys.executable, "-m", "lookalike", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=280, env={**os.environ})


class Process:
    """A lookalike command that runs until `stop`; its first line of output has its address."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "lookalike", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def line(self, start: str) -> str:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        return pytest.fail(f"it ended with {self._process.wait()} before it said {start}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def pictures(photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of each of six classes, in a folder each."""
    folder = tmp_path_factory.mktemp("photographs")
    there: dict[str, int] = {}
    with (photos_dir / "manifest.csv").open() as listing:
        for row in csv.DictReader(listing):
            label = row["label"].partition("_")[2]
            label = LONG.get(label, label)
            if row["set"] != "imagenette" or (label not in there and len(there) == CLASSES):
                continue
            there[label] = there.get(label, 0) + 1
            if there[label] <= EACH:
                (folder / label).mkdir(exist_ok=True)
                shutil.copyfile(photos_dir / row["path"], folder / label / f"{there[label]:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def collection(pictures: Path, resnet18_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of the images, with a map and a result in the form of `lookalike evolution`."""
    folder = tmp_path_factory.mktemp("collections") / "photographs_of_everything_that_somebody_had_at_hand_that_day"
    options = [
        "--model",
        "resnet18",
        "--weights",
        resnet18_weights,
        "--class-names",
        "imagenet",
        "--clusters",
        CLUSTERS,
    ]
    lookalike("index", pictures, "--collection", folder, *options)
    table = folder.parent / "shots.csv"
    keys = sorted(path.relative_to(pictures) for path in pictures.rglob("*.jpg"))
    lines = [f"{key},{5 * at},{'kept;sold' if at % 3 else 'sold'}" for at, key in enumerate(keys)]
    table.write_text("\n".join(["file,price,tags", *lines]))
    assert CliRunner().invoke(attach, [str(folder), str(table), "--key", "file", "--type", "tags=list"]).exit_code == 0
    view = View(CollectionReader.open(str(folder)))
    placed = map2d(view, method="pca")
    store_result(view.reader, "pca", placed)
    store_result(
        view.reader, "training", Result("evolution", {"model": "resnet18", "steps": STEPS}, {"map": steps_of(placed)})
    )
    return folder


def steps_of(placed: Result) -> pa.Table:
    """Return a map's points at three checkpoints: all in a narrow area, then rotated by 90 degrees, then unchanged."""
    table = placed.tables["map"]
    x, y = (table.column(axis).to_numpy().astype(float) for axis in "xy")
    columns = {"id": table.column("id").to_numpy(), "label": ["some"] * len(x)}
    places = [(x / 100, y / 100), (-y, x), (x, y)]
    return pa.concat_tables(
        pa.table({"step": [step] * len(x), **columns, "x": left, "y": down})
        for step, (left, down) in zip(STEPS, places, strict=True)
    )


@pytest.fixture(scope="module")
def others(collection: Path) -> list[str]:
    """Two more collections for the server: "fewer", without six of the images, and "broken", which cannot load."""
    fewer, broken = collection.with_name("fewer"), collection.with_name("broken")
    shutil.copytree(collection, fewer)
    shutil.copytree(collection, broken)
    delete(Storage(str(fewer)), ids=CollectionReader.open(str(fewer)).images(["id"]).column("id").to_pylist()[:6])
    part = next(broken.glob("embeddings/**/*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    return [f"fewer={fewer}", f"broken={broken}"]


@pytest.fixture(scope="module")
def server(collection: Path, others: list[str]) -> Iterator[Server]:
    running = Server(collection, *others)
    running.start()
    yield running
    running.stop()


class Server:
    """`lookalike serve` on a port that was free, and that stays the same after a restart."""

    def __init__(self, *collections: object) -> None:
        self._collections, self.port = collections, 0

    def start(self) -> None:
        self._process = Process("serve", *self._collections, "--port", self.port, "--writable")
        said = re.search(r" on 127\.0\.0\.1:(\d+)", self._process.line("SERVING"))
        assert said
        self.port = int(said.group(1))

    def stop(self, number: int = signal.SIGTERM) -> None:
        self._process.stop(number)


@pytest.fixture(scope="module")
def address(server: Server) -> Iterator[str]:
    """The address of the page."""
    explorer = Process("explore", "--server", f"127.0.0.1:{server.port}", "--http", 0, "--no-browser")
    found = re.search(r"http://127\.0\.0\.1:\d+", explorer.line("EXPLORER"))
    assert found
    yield found.group()
    explorer.stop()


def until_network(address: str) -> None:
    """Wait until the server's network has started, without a time limit of the test."""
    assert httpx.get(f"{address}/api/server", timeout=4 * PATIENCE_MS / 1000).json()["server"]["image_queries"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS)
        yield running
        running.close()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Open]:
    """Open a URL of the page in a new window. No script may fail, and nothing else may be requested.

    Animations are off unless the settings say otherwise, since drawing them on the processor takes much time.
    """
    opened: list[Any] = []
    problems: list[str] = []
    own = ["blob:"]

    def show(path: str = "", at: str = address, **settings: Any) -> Any:
        own.append(at)
        defaults = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
        context = browser.new_context(base_url=f"{at}/", **{**defaults, **settings})
        context.set_default_timeout(PATIENCE_MS)
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda asked: None if is_own(asked.url) else problems.append(f"asked {asked.url}"))
        page.goto(path)
        expect(page.locator("main")).to_have_attribute("aria-busy", "false", timeout=PATIENCE_MS)
        return page

    def is_own(url: str) -> bool:
        return url.startswith(tuple(own))

    yield show
    for context in opened:
        context.close()
    assert problems == []


@pytest.fixture(autouse=True)
def patience() -> None:
    expect.set_options(timeout=PATIENCE_MS)


def tiles(page: Any) -> Any:
    return page.locator("main .tile > a")


def seen(image: Any) -> None:
    """Wait until an image is painted, not only its frame."""
    # Not by `complete`, which is also true for a lazy image that is not near the window yet.
    expect(image).not_to_have_js_property("naturalWidth", 0)


def drop(page: Any, picture: Path, kind: str = "image/jpeg") -> None:
    """Drop a file on the page, as a user does."""
    data = base64.b64encode(picture.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """([data, name, type]) => {
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type }));
            return transfer;
        }""",
        [data, picture.name, kind],
    )
    page.dispatch_event("main", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(page.locator("#drop")).to_be_hidden()


def test_dropped_image_is_searched_and_its_url_repeats_the_search(open_page, address, pictures):
    until_network(address)
    page = open_page("")
    label = sorted(each.name for each in pictures.iterdir())[0]
    drop(page, pictures / label / "03.jpg")
    expect(page.locator("h1")).to_have_text("Looks like your image")
    expect(tiles(page)).to_have_count(24)
    # The dropped file itself is the nearest.
    expect(tiles(page).first).to_have_attribute("title", f"{label}/03.jpg")
    seen(page.locator(".asked img"))
    seen(page.locator("main .tile img").first)
    assert "upload=" in page.url
    keys = [each.get_attribute("title") for each in tiles(page).all()]
    page.reload()
    expect(tiles(page)).to_have_count(24)
    assert [each.get_attribute("title") for each in tiles(page).all()] == keys
    expect(page.locator("#served")).to_contain_text("resnet18/main on cpu")


def test_chosen_file_is_searched(open_page, address, pictures):
    until_network(address)
    page = open_page("clusters")
    label = sorted(each.name for each in pictures.iterdir())[1]
    page.locator("#choose input").set_input_files(pictures / label / "05.jpg")
    expect(tiles(page).first).to_have_attribute("title", f"{label}/05.jpg")


def test_dropped_file_without_an_image_is_rejected(open_page, tmp_path, pictures):
    page = open_page("clusters")
    notes = tmp_path / "notes.txt"
    notes.write_text("no image")
    refusal = page.locator("#refusal")
    # Rejected by its type, by its content, and for a broken image by its first bytes.
    for kind, words in (
        ("text/plain", "notes.txt is not an image: drop a JPEG"),
        ("", "no supported image"),
    ):
        drop(page, notes, kind)
        expect(refusal).to_contain_text(words)
        expect(page.locator(".card")).to_have_count(CLUSTERS)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    refusal.get_by_role("button", name="Close").click()
    expect(refusal).to_be_hidden()


def test_neighbors_are_followed_and_the_way_back_is_kept(open_page):
    page = open_page("search?id=0&k=5")
    expect(tiles(page)).to_have_count(5)
    first = tiles(page).first.get_attribute("title")
    tiles(page).first.click()
    expect(page.locator(".asked .print")).to_contain_text(first)
    assert "k=5" in page.url  # settings are kept
    expect(tiles(page)).to_have_count(5)
    page.go_back()
    expect(tiles(page).first).to_have_attribute("title", first)


def test_settings_are_in_the_address(open_page):
    page = open_page("search?id=0")
    page.get_by_label("How many (k)").fill("7")
    page.get_by_label("How many (k)").press("Enter")
    expect(tiles(page)).to_have_count(7)
    page.get_by_label("Accuracy").select_option("exact")
    expect(page).to_have_url(re.compile("exact=1"))
    expect(page.locator("#served")).to_contain_text("every image compared")
    labels = page.locator("#control-label-list option")
    expect(labels).to_have_count(CLASSES)
    assert labels.first.inner_text() == f"{EACH} images"
    label = page.locator(".tile .label").last.inner_text()  # the shown label, not the stored one
    page.get_by_label("Only the label").fill(label)
    page.get_by_label("Only the label").press("Enter")
    expect(page).to_have_url(re.compile("label="))
    expect(page.locator("main")).to_contain_text("with the label")


def test_sentences_have_labels_without_wordnet_numbers_and_commands_keep_them(open_page):
    page = open_page()
    told = page.evaluate("""async () => {
        const { findings } = await import(new URL("static/js/dom.js", location.href));
        return [...findings([
            "18% of n03445777_golf_ball lie with n03000684_chain_saw (cluster 8).",
            "Next: lookalike explain n03445777_golf_ball/ILSVRC2012_val_1.JPEG",
        ]).children].map((each) => each.textContent);
    }""")
    assert told == [
        "18% of golf ball lie with chain saw (cluster 8).",
        "Next: lookalike explain n03445777_golf_ball/ILSVRC2012_val_1.JPEG",
    ]


def test_labels_are_shown_without_wordnet_numbers(open_page):
    page = open_page(f"search?label={NUMBERED}")
    expect(page.locator("h2").first).to_contain_text("labeled cassette player")
    expect(page.locator(".tile .label")).to_have_count(EACH)
    assert set(page.locator(".tile .label").all_inner_texts()) == {"cassette player"}


def test_keyboard_moves_between_images(open_page):
    page = open_page("search?id=0&k=6")
    expect(tiles(page)).to_have_count(6)
    tiles(page).first.focus()
    page.keyboard.press("ArrowRight")
    expect(tiles(page).nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(tiles(page).nth(5)).to_be_focused()
    page.keyboard.press("Home")
    key = tiles(page).first.get_attribute("title")
    page.keyboard.press("i")
    expect(page.locator(".facts")).to_contain_text(key)


def test_image_page_shows_neighbors_clusters_and_predictions(open_page):
    page = open_page("image?id=0")
    expect(page.get_by_role("heading", name="Nearest of another class")).to_be_visible()
    own = page.locator(".facts").get_by_role("link").inner_text()
    others = page.locator("section", has_text="Nearest of another class").locator(".tile .label")
    assert own not in others.all_inner_texts()
    expect(page.locator(".home")).to_have_count(1)
    expect(page.locator(".bar")).to_have_count(5)
    expect(page.locator(".bar").first).to_contain_text("%")


def test_attributions_are_drawn_on_demand(open_page):
    page = open_page("image?id=0")
    for name in ("Class activation (CAM)", "Guided backprop"):
        button = page.get_by_role("button", name=name)
        button.click()
        drawn = page.get_by_alt_text(re.compile(re.escape(name)))
        expect(drawn).to_be_visible()
        seen(drawn)
        expect(button).to_have_attribute("aria-pressed", "true")


def test_cluster_is_opened_from_the_sheet(open_page):
    page = open_page("clusters")
    expect(page.locator(".card")).to_have_count(CLUSTERS)
    seen(page.locator(".card img").first)
    size = page.locator(".card .title .print").first.inner_text()
    page.locator(".card a").first.click()
    expect(page.locator("main")).to_contain_text(f"{size}, nearest to the centroid first")
    expect(tiles(page)).to_have_count(int(size.split()[0]))
    tiles(page).first.click()
    expect(page.locator(".facts")).to_be_visible()


def test_header_switches_between_the_collections_of_the_server(open_page, collection):
    page = open_page("clusters?show=matrix")
    switch = page.get_by_label("Collection", exact=True)
    expect(switch).to_have_value(collection.name)
    expect(page.locator("#collection")).to_contain_text(f"{CLASSES * EACH} images")
    switch.select_option("fewer")
    expect(page.locator("#collection")).to_contain_text(f"{CLASSES * EACH - 6} images")
    expect(page).to_have_url(re.compile(r"/clusters\?collection=fewer$"))
    # Links and images stay in the same collection.
    seen(page.locator(".card img").first)
    page.locator(".card a").first.click()
    tiles(page).first.click()
    expect(page.locator(".facts")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/image\?collection=fewer&id="))
    page.get_by_role("link", name="Mistakes").click()
    expect(page).to_have_url(re.compile(r"/mistakes\?collection=fewer$"))
    page.reload()
    expect(page.locator("#collection")).to_contain_text(f"{CLASSES * EACH - 6} images")
    expect(switch).to_have_value("fewer")
    # The browser's back button leads to the other collection, too.
    for _ in range(4):
        page.go_back()
    expect(switch).to_have_value(collection.name)
    expect(page.locator("#collection")).to_contain_text(f"{CLASSES * EACH} images")


def test_unloaded_collection_is_listed_with_the_reason(open_page):
    page = open_page("map")
    switch = page.get_by_label("Collection", exact=True)
    expect(switch.locator("option", has_text="broken")).to_contain_text("not loaded")
    switch.select_option("broken")
    expect(page.get_by_role("heading", name="This collection is not loaded")).to_be_visible()
    expect(page.locator("main")).to_contain_text("it is not what was written")
    expect(page.locator("#banner")).to_be_hidden()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("main")).to_contain_text("it is not what was written")
    switch.select_option("fewer")
    expect(page.locator(".stage[data-ready=true]")).to_be_visible()


def test_cell_of_the_matrix_opens_its_images(open_page):
    page = open_page("clusters?show=matrix")
    cell = page.locator(".heat").first
    images = int(cell.inner_text())
    cell.click()
    expect(tiles(page)).to_have_count(images)
    expect(page.locator("h1")).to_contain_text("in cluster")


def test_oddballs_lead_to_their_images(open_page):
    page = open_page("clusters?show=oddballs")
    expect(tiles(page).first).to_be_visible()
    tiles(page).first.click()
    expect(page.locator(".facts")).to_be_visible()


def around_all(page: Any) -> None:
    """Draw a lasso around the whole map."""
    stage = page.locator(".stage[data-ready=true]")
    expect(stage).to_have_attribute("data-inside", str(CLASSES * EACH))
    page.get_by_role("button", name="Lasso").click()
    box = stage.bounding_box()
    around = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.05)]
    corners = [(box["x"] + right * box["width"], box["y"] + down * box["height"]) for right, down in around]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()


def test_lasso_on_the_map_makes_a_list(open_page):
    page = open_page("map")
    stage = page.locator(".stage[data-ready=true]")
    expect(stage).to_have_attribute("data-inside", str(CLASSES * EACH))
    expect(page.locator(".legend button")).to_have_count(CLASSES)
    around_all(page)
    expect(page.locator(".chosen h2")).to_have_text(f"{CLASSES * EACH} images chosen")
    expect(page.locator(".chosen .tile")).to_have_count(CLASSES * EACH)
    page.locator(".chosen .tile > a").first.click()
    expect(page.locator(".facts")).to_be_visible()


def test_map_zooms_shows_images_and_keeps_its_view_in_the_url(open_page):
    page = open_page("map")
    stage = page.locator(".stage[data-ready=true]")
    expect(stage).to_have_attribute("data-zoom", "1.000")
    stage.focus()
    for _ in range(4):
        page.keyboard.press("+")
    expect(stage).to_have_attribute("data-zoom", f"{1.4**4:.3f}")
    expect(page.locator(".near").first).to_be_attached()
    expect(page).to_have_url(re.compile("zoom="))
    where = page.url
    page.reload()
    expect(page.locator(".stage[data-ready=true]")).to_have_attribute("data-zoom", re.compile(r"^3\.84"))
    expect(page).to_have_url(where)
    page.get_by_label("Color by").select_option(label="cluster in resnet18/k6")
    expect(page.locator(".legend")).to_contain_text("cluster 0")


def test_zoom_is_bounded_and_double_click_resets_the_map(open_page):
    page = open_page("map")
    stage = page.locator(".stage[data-ready=true]")
    box = stage.bounding_box()
    everything = {"zoom": "1.000", "inside": str(CLASSES * EACH)}
    for right, down in ((0.02, 0.03), (0.97, 0.96), (0.5, 0.03)):
        for notch in (-120, 120):
            page.mouse.move(box["x"] + right * box["width"], box["y"] + down * box["height"])
            for _ in range(30):
                page.mouse.wheel(0, notch)
            expect(stage).to_have_attribute("data-zoom", "24.000" if notch < 0 else "0.800")
            # The number of points inside is updated only when the map rests.
            expect(stage).to_have_attribute("data-inside", re.compile(r"^[1-9]\d*$"))
            assert page.locator(".near").count() or notch > 0
        page.mouse.dblclick(box["x"] + 0.02 * box["width"], box["y"] + 0.03 * box["height"])
        for name, value in everything.items():
            expect(stage).to_have_attribute(f"data-{name}", value)


GROUPS = """async () => {
    const { middles, Names } = await import(new URL("static/js/map/names.js", location.href));
    const points = { x: Float32Array.of(0, 1, 9, 5, 5), y: Float32Array.of(0, 0, 0, 4, 4) };
    const places = middles(Int32Array.of(7, 7, 7, 2, 3), points);
    const names = new Names(document.querySelector(".names"));
    names.take(places.map(({ code, x, y }) => ({ text: `group ${code}`, x, y })));
    names.follow({ toScreen: (x, y) => [100 + 20 * x, 300 - 20 * y] }, false);
    const box = names.box.getBoundingClientRect();
    return [places, names.all.map(({ element }) => {
        const { left, right, bottom } = element.getBoundingClientRect();
        return element.hidden ? null : [(left + right) / 2 - box.left, bottom - box.top];
    })];
}"""


def test_map_labels_stand_above_their_groups_without_overlap(open_page):
    page = open_page("map")
    expect(page.locator(".stage[data-ready=true]")).to_be_attached()
    # With so few images, thumbnails replace the points; names would hide them.
    expect(page.locator(".names span").first).to_be_hidden()
    places, (first, second, third) = page.evaluate(GROUPS)
    assert places == [{"code": 7, "x": 1, "y": 0}, {"code": 2, "x": 5, "y": 4}, {"code": 3, "x": 5, "y": 4}]
    assert first == pytest.approx([120, 295], abs=1.1)
    assert second == pytest.approx([200, 215], abs=1.1)
    assert third is None


def test_points_are_colored_by_what_the_model_predicts(open_page):
    page = open_page("map?color=prediction")
    counts = page.locator(".legend button .print").all_inner_texts()
    assert sum(map(int, counts)) <= CLASSES * EACH
    name = page.locator(".legend button .what").first.inner_text()
    assert name not in ("", "no prediction")
    page.locator(".legend button").first.click()
    expect(page.locator(".stage")).to_have_attribute("data-inside", str(CLASSES * EACH - int(counts[0])))


@pytest.fixture
def as_writer(open_page: Open, server: Server) -> Open:
    """Open a URL of the page as the user who runs the server, logged in with its secret."""

    def show(path: str) -> Any:
        page = open_page("login")
        page.get_by_label("Token").fill(local_secret.find(server.port))
        page.get_by_role("button", name="Log in").click()
        expect(page.locator(".hero")).to_be_visible()
        page.goto(path)
        expect(page.locator("body.writes")).to_be_attached()
        return page

    return show


def test_images_are_deleted_labeled_and_brought_back_from_any_view(open_page, as_writer):
    stranger = open_page("clusters?show=oddballs")
    expect(tiles(stranger).first).to_be_visible()
    expect(stranger.locator("body.writes, .select, .adds")).to_have_count(0)
    page, every = as_writer("search"), CLASSES * EACH
    edit = page.get_by_role("region", name="Changes")
    expect(tiles(page)).to_have_count(every)
    gone = tiles(page).first.get_attribute("title")
    page.get_by_role("checkbox", name=f"Select {gone}").check()
    expect(edit).to_contain_text("1 image selected")
    edit.get_by_role("button", name="Delete").click()
    expect(tiles(page)).to_have_count(every - 1)
    edit.get_by_role("button", name="Undo: delete 1 image").click()
    expect(tiles(page)).to_have_count(every)
    expect(edit).to_be_hidden()
    # Delete from oddballs, which are about the generation: they mark deleted images.
    page.goto("clusters?show=oddballs")
    first = page.locator("main .tile").first
    first.get_by_role("checkbox").check()
    edit.get_by_role("button", name="Delete").click()
    expect(page.locator("main .tile.gone")).to_have_count(1)
    expect(page.locator("main .remark")).to_contain_text("not part of it")
    edit.get_by_role("button", name="Undo").click()
    expect(page.locator("main .tile.gone")).to_have_count(0)
    # Delete from a lasso on the map.
    page.goto("map")
    around_all(page)
    page.get_by_role("button", name="Select all").click()
    expect(edit).to_contain_text(f"{every} images selected")
    edit.get_by_label("Label").fill("everything")
    edit.get_by_role("button", name="Set label").click()
    expect(edit).to_contain_text(f"Undo: label {every} images everything")
    page.goto("search?label=everything")
    expect(tiles(page)).to_have_count(every)
    edit.get_by_role("button", name="Undo").click()
    expect(edit).to_be_hidden()
    expect(tiles(page)).to_have_count(0)


def test_adding_a_dropped_image_can_be_undone(as_writer, pictures, address):
    until_network(address)
    page = as_writer("search")
    label = sorted(each.name for each in pictures.iterdir())[0]
    drop(page, pictures / label / "03.jpg")
    expect(page.get_by_label("Key")).to_be_visible()
    page.get_by_label("Key").fill("added/new.jpg")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator('main .tile > a[title="added/new.jpg"]')).to_be_visible()
    seen(page.locator('main .tile > a[title="added/new.jpg"] img'))
    page.get_by_role("button", name="Undo: add added/new.jpg").click()
    expect(page.locator('main .tile > a[title="added/new.jpg"]')).to_have_count(0)
    page.goto("search")
    page.locator(".adds").set_input_files([pictures / label / "01.jpg", pictures / label / "02.jpg"])
    expect(tiles(page)).to_have_count(CLASSES * EACH + 2)
    for left in (1, 0):
        page.get_by_role("button", name="Undo").click()
        expect(tiles(page)).to_have_count(CLASSES * EACH + left)


def test_slider_goes_through_the_checkpoints(open_page):
    page = open_page("map?name=evolution/training")
    stage = page.locator(".stage[data-ready=true]")
    slider = page.get_by_label("Checkpoint")
    expect(slider).to_have_attribute("aria-valuetext", "step100")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "step10")
    expect(page).to_have_url(re.compile("step=step10$"))
    page.keyboard.press("Home")
    expect(page).to_have_url(re.compile("step=step0$"))
    # The narrow step is scaled to the others' width: zoomed by three, most points are outside the window.
    stage.focus()
    for _ in range(4):
        page.keyboard.press("+")
    expect(stage).to_have_attribute("data-zoom", f"{1.4**4:.3f}")
    assert int(stage.get_attribute("data-inside")) < CLASSES * EACH
    page.reload()
    expect(page.get_by_label("Checkpoint")).to_have_attribute("aria-valuetext", "step0")


def test_page_recovers_when_the_server_is_available_again(open_page, server):
    page = open_page("search?id=1&k=6")
    expect(tiles(page)).to_have_count(6)
    server.stop(signal.SIGKILL)
    try:
        page.locator("nav").get_by_role("link", name="Clusters").click()
        expect(page.locator("#banner")).to_contain_text("The server is unavailable")
    finally:
        server.start()
    expect(page.locator(".card")).to_have_count(CLUSTERS)
    expect(page.locator("#banner")).to_be_hidden()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("image?id=999999", "999999"),
        ("search?upload=0123456789abcdef", "drop it on the page again"),
        ("search?id=0&k=0", "k='0'"),
        ("clusters?clustering=resnet18/none", "none"),
        ("map?name=map/none", "it has: map/pca, evolution/training"),
    ],
)
def test_missing_page_shows_an_alert_with_the_remedy(open_page, path, words):
    page = open_page(path)
    expect(page.get_by_role("alert")).to_contain_text(words)


def test_page_works_below_the_prefix_of_a_proxy(open_page, address, pictures):
    with proxied(address, "/some/prefix/") as at:
        page = open_page(at=at.rstrip("/"))
        seen(page.locator("main .tile img").first)
        until_network(address)
        label = sorted(each.name for each in pictures.iterdir())[0]
        drop(page, pictures / label / "03.jpg")
        expect(tiles(page).first).to_have_attribute("title", f"{label}/03.jpg")
        seen(page.locator(".asked img"))
        tiles(page).nth(1).click()
        page.get_by_role("link", name="About this image").click()
        page.get_by_role("button", name="Class activation (CAM)").click()
        seen(page.get_by_alt_text(re.compile("Class activation")))
        page.reload()
        expect(page.locator(".bar")).to_have_count(5)
        for view, there in (("Clusters", ".card img"), ("Map", ".stage[data-ready=true]"), ("Search", ".tile img")):
            page.locator("nav").get_by_role("link", name=view).click()
            expect(page.locator(there).first).to_be_attached()
            assert page.url.startswith(f"{at}{view.lower()}")
        page.goto(f"{at}login?next=clusters")
        page.get_by_label("Token").fill("any")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator(".card")).to_have_count(CLUSTERS)
        (cookie,) = page.context.cookies()
        assert (cookie["name"], cookie["path"]) == ("lookalike-session", "/some/prefix")


def test_mistakes_are_counted_by_class_and_each_leads_to_why(open_page):
    page = open_page("mistakes")
    wrong = int(page.locator(".figures dd").nth(1).inner_text())
    assert 0 < wrong < CLASSES * EACH
    expect(tiles(page)).to_have_count(wrong)
    counted = page.locator(".table .chip .print").all_inner_texts()
    assert sum(map(int, counted)) == wrong
    sure = [float(each.rstrip("%")) for each in page.locator(".numbers dd:nth-of-type(1)").all_inner_texts()]
    assert sure == sorted(sure, reverse=True)
    page.locator(".table .chip").first.click()
    expect(tiles(page)).to_have_count(int(counted[0]))
    taken = page.locator(".chip[aria-current]").get_attribute("title")
    expect(page.locator(".tile .line").first).to_have_text(
        f"taken for {taken.partition(' taken for ')[2].rpartition(':')[0]}"
    )
    tiles(page).first.click()
    # The predictions come first, and the attribution is drawn at once.
    expect(page.locator(".section h2").first).to_have_text("Predictions")
    seen(page.get_by_alt_text(re.compile("Class activation")))


def test_checks_show_duplicates_leaks_wrong_labels_poor_images_and_a_sample(open_page):
    page = open_page("login")
    for name, tables in CHECKED.items():
        page.route(f"**/api/experiments/{name}*", answering(tables))
    page.goto("checks")
    group = page.get_by_role("list", name="Group 1").locator(".tile")
    expect(group).to_have_count(3)
    expect(group.locator(".line")).to_have_text(["keep", "exact copy", "can go"])
    seen(page.locator(".tile img").first)
    page.get_by_role("link", name="Leaks").click()
    expect(page.locator("h2")).to_have_text(["1: train and test"])
    expect(page.locator(".tile .value").first).to_have_text("0.012")
    page.get_by_role("link", name="Labels").click()
    expect(page.locator(".tile .line")).to_have_text(["suggested: bus"])
    page.get_by_role("link", name="Quality").click()
    expect(page.locator("h2")).to_have_text(["odd aspect: 1 image"])
    expect(page.get_by_text("longer side more than 3 times the shorter one")).to_be_visible()
    page.get_by_role("link", name="Sample").click()
    expect(page.get_by_role("spinbutton", name="Images")).to_have_value("24")
    page.get_by_role("spinbutton", name="Images").fill("5")
    page.get_by_role("button", name="Show").click()
    chosen = page.get_by_role("list", name="A spread-out sample").locator(".tile")
    expect(chosen).to_have_count(5)
    expect(chosen.first.locator(".more")).to_have_text("most typical")
    assert page.url.endswith("checks?show=sample&count=5")
    apart = [float(each) for each in chosen.locator(".value").all_inner_texts()]
    assert len(apart) == 4
    assert apart == sorted(apart, reverse=True)


def test_check_without_results_names_the_command(open_page):
    page = open_page("checks?show=quality")
    expect(page.locator(".notice code")).to_contain_text("lookalike quality")
    expect(page.locator(".tabs a")).to_have_count(5)


def answering(tables: dict[str, list[dict[str, Any]]]) -> Callable[[Any], None]:
    """Reply with these tables, as the server would for such images."""

    def answer(route: Any) -> None:
        served = {"generation": 3, "notes": []}
        told = {"tables": tables, "settings": {"metric": "cosine"}, "figures": {}, "findings": ["So it is."]}
        route.fulfill(json={**told, "served": served})

    return answer


CHECKED: dict[str, dict[str, list[dict[str, Any]]]] = {
    "duplicates": {
        "groups": [{"group": 1, "images": 3}],
        "images": [
            {"group": 1, "id": number, "key": f"{number}.jpg", "label": "cat", "width": 200, "height": 100,
             "keep": number == 0, "exact": number == 1, "distance": 0.004 * number}
            for number in range(3)
        ],
    },
    "leaks": {
        "leaks": [
            {"rank": 1, "distance": 0.0123, "exact": False, "id": 0, "key": "0.jpg", "split": "train", "other_id": 1,
             "other_key": "1.jpg", "other_split": "test"}
        ]
    },
    "label_issues": {
        "issues": [
            {"rank": 1, "id": 2, "key": "2.jpg", "label": "cat", "suggested": "bus", "score": -0.8,
             "label_probability": 0.1, "suggested_probability": 0.9}
        ]
    },
    "quality": {
        "flags": [
            {"flag": "dark", "rule": "95% of the pixels are darker than 0.25", "images": 0, "share": 0},
            {"flag": "odd_aspect", "rule": "longer side more than 3 times the shorter one", "images": 1, "share": 0.1},
        ],
        "images": [{"flag": "odd_aspect", "rank": 1, "id": 1, "key": "1.jpg", "label": "cat", "value": 4}],
    },
}  # fmt: skip


def test_filter_is_written_by_suggestions_and_narrows_every_view(open_page):
    """Prices are 0, 5, ... 175; those of the first 4 images are below 20, and 2 of these are tagged "kept"."""
    page = open_page("search")
    bar, told = page.get_by_role("combobox", name="Filter"), page.locator("#filter-told")
    bar.click()
    options = page.locator("#filter-list").get_by_role("option")
    expect(options.filter(has_text="price")).to_contain_text("0 to 175")
    expect(options.filter(has_text="tags")).to_contain_text("sold, kept")
    bar.fill("price < 20 and ta")
    expect(options).to_have_count(1)
    for value in ("price < 20 and tags ", "price < 20 and tags has ", "price < 20 and tags has 'sold' "):
        bar.press("ArrowDown")
        bar.press("Enter")
        expect(bar).to_have_value(value)
    bar.fill("price < 20 and tags has 'kept'")
    bar.press("Escape")
    bar.press("Enter")
    expect(told).to_have_text("2 of 36 images match")
    expect(tiles(page)).to_have_count(2)
    assert "where=price+%3C+20+and+tags+has+%27kept%27" in page.url
    tiles(page).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Looks like")
    expect(tiles(page)).to_have_count(1)
    page.get_by_role("link", name="Clusters", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("with matches")
    assert page.locator(".card .title .print").all_inner_texts() in (["2 images"], ["1 image", "1 image"])
    page.get_by_role("link", name=re.compile("Classes")).click()
    expect(page.locator(".heatmap .heat").first).to_be_visible()
    assert sum(map(int, page.locator(".heatmap .heat").all_inner_texts())) == 2
    page.locator(".heatmap .heat").first.click()
    expect(tiles(page).first).to_be_visible()
    page.get_by_role("link", name="Map", exact=True).click()
    expect(page.locator(".panel")).to_contain_text("2 images")
    expect(page.locator(".stage")).to_have_attribute("data-inside", "2")
    page.reload()
    expect(told).to_have_text("2 of 36 images match")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".panel")).to_contain_text("36 images")
    expect(told).to_be_hidden()


def test_filter_error_is_shown_below_the_bar_with_its_position(open_page):
    page = open_page("search?where=price+%3C+20")
    bar, told = page.get_by_role("combobox", name="Filter"), page.locator("#filter-told")
    expect(told).to_have_text("4 of 36 images match")
    bar.fill("price < 20 and prize > 3")
    bar.press("Escape")
    bar.press("Enter")
    expect(told).to_contain_text("There is no column 'prize'; did you mean 'price'?")
    expect(told.locator("mark")).to_have_text("prize")
    expect(bar).to_have_attribute("aria-invalid", "true")
    # The old results stay, and so does the URL.
    expect(tiles(page)).to_have_count(4)
    assert page.url.endswith("?where=price+%3C+20")
    page.goto("map?where=cluster('nowhere')+=+1")
    expect(told).to_contain_text("has no clustering 'nowhere'")
    expect(page.locator("main")).to_contain_text("the filter above cannot be applied")
    page.goto("search?where=price+<+0")
    expect(told).to_have_text("0 of 36 images match")
    expect(page.locator("main")).to_contain_text("No image matches the filter.")


VIEWS = {
    "start": "",
    "search": "search?id=0",
    "image": "image?id=0",
    "clusters": "clusters",
    "cluster": "clusters?cluster=0",
    "matrix": "clusters?show=matrix",
    "oddballs": "clusters?show=oddballs",
    "mistakes": "mistakes",
    "duplicates": "checks",
    "leaks": "checks?show=leaks",
    "wrong labels": "checks?show=labels",
    "quality": "checks?show=quality",
    "sample": "checks?show=sample",
    "why": "image?id=1&why=1",
    "map": "map",
    "checkpoints": "map?name=evolution/training",
    "filtered": "search?id=1&where=price+%3C+90+and+tags+has+'kept'",
    "refused": "clusters?where=price+%3C+90+und+tags+has+'kept'",
    "error": "image?id=999999",
    "login": "login",
}


WIDTHS = [390, 1366, 1920]


def test_long_names_cause_no_horizontal_scrolling(open_page):
    page = open_page("login", reduced_motion="no-preference")
    # The names of clusters are joined names of ImageNet classes.
    page.route("**/api/experiments/interpret*", named_at_length)
    cards: list[list[float]] = []
    for turn, (view, path) in enumerate(VIEWS.items()):
        # Each view is loaded at one width and resized to the others; each width is the first one for some views.
        for at in range(len(WIDTHS)):
            width = WIDTHS[(turn + at) % len(WIDTHS)]
            page.set_viewport_size({"width": width, "height": 900})
            if at == 0:
                page.goto(path)
                page.wait_for_load_state("networkidle")
            # The browser's next frame has the new width.
            page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert wide[1] == width
            assert wide[0] <= wide[1], (view, width)
            if view == "clusters":
                expect(page.locator(".card h2").first).to_contain_text("Donaudampfschiff")
                cards += fitted(page)
    assert len(cards) == CLUSTERS * len(WIDTHS)


def fitted(page: Any) -> list[list[float]]:
    """Return the left and right edges of each card and of its content, which is inside; all cards have one width."""
    edges = "map((each) => each.getBoundingClientRect()).flatMap(({ left, right }) => [left, right])"
    parts = f"[card, ...card.querySelectorAll('h2, .print')].{edges}"
    cards: list[list[float]] = page.evaluate(f"[...document.querySelectorAll('.card')].map((card) => {parts})")
    for left, right, *inside in cards:
        assert right - left == pytest.approx(cards[0][1] - cards[0][0], abs=0.6)
        assert left - 0.6 <= min(inside)
        assert max(inside) <= right + 0.6
    return cards


def named_at_length(route: Any) -> None:
    """Reply with long names of clusters, with and without spaces."""
    reply = route.fetch()
    told = reply.json()
    for number, row in enumerate(told["tables"]["clusters"]):
        joint = "" if number % 2 else " / "
        row["name"] = joint.join(["Donaudampfschifffahrtsgesellschaftskapitaen"] * 4)
    route.fulfill(response=reply, json=told)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_accessible_in_light_and_dark_and_fits_a_phone(open_page, view):
    page = open_page(VIEWS[view])
    page.wait_for_load_state("networkidle")
    assert mistakes(page) == []
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(19, 19, 18)"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert mistakes(page) == []


def mistakes(page: Any) -> list[str]:
    """Return axe's violations of WCAG 2.2 A and AA, and of its own best practices."""
    # The only WCAG 2.2 rule is off by default.
    options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    found = axe.Axe().run(page, options=options).response
    assert len(found["passes"]) > 10
    return [f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]]
