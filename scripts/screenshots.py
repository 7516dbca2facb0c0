"""Write screenshots of each view of the explorer to docs/images, with images that may be published.

    python scripts/screenshots.py [--model resnet50 --weights FILE] [--work FOLDER]

The images are crops of those of scikit-image, as in demo.py. Needs Chromium
on PATH and the packages of the extra [dev].
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import COMMAND, cut_crops
from playwright.sync_api import expect, sync_playwright

from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.experiments.map2d import map2d
from lookalike_indexer.experiments.stored_results import store_result
from lookalike_indexer.experiments.view import View

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--use-gl=angle", "--use-angle=swiftshader"]
PATIENCE_MS = 120_000
EXAMPLE = "chelsea/1-2.jpg"


@dataclass(frozen=True)
class Shot:
    """A screenshot of a view; `{id}` in the path stands for the example. `ready` selects the element to wait for."""

    name: str
    path: str
    ready: str
    dark: bool = False
    size: tuple[int, int] = (1280, 860)


SHOTS = (
    Shot("search", "/search?id={id}", "#served"),
    Shot("image", "/image?id={id}", ".bar"),
    Shot("clusters", "/clusters", ".card img"),
    Shot("matrix", "/clusters?show=matrix", ".heat", dark=True),
    Shot("map", "/map?zoom=2.2", ".near img", dark=True),
    Shot("phone", "/search?id={id}", "#served", size=(390, 800)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a screenshot of each view of the explorer.")
    parser.add_argument("--model", default="timm/tf_efficientnet_lite0")
    parser.add_argument("--weights", default="package", help="as for `lookalike index`")
    parser.add_argument("--work", type=Path, help="where the collection is made, and found again")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        collection = make(work, arguments.model, arguments.weights)
        with page_of(collection) as address, sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            for shot in SHOTS:
                take(browser, address, shot)
                print(f"Wrote {OUT / shot.name}.png")
            browser.close()


def make(work: Path, model: str, weights: str) -> Path:
    """Make the collection of the crops, with a clustering and a map."""
    collection = work / "photographs"
    if not collection.exists():
        photos = cut_crops(work / "crops")
        run("index", photos, "--collection", collection, "--model", model, "--weights", weights, "--clusters", 17)
        reader = CollectionReader.open(str(collection))
        store_result(reader, "tsne", map2d(View(reader), method="tsne"))
    return collection


def run(*arguments: object) -> None:
    subprocess.run([*COMMAND, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def page_of(collection: Path) -> Iterator[str]:
    """Serve the collection with its page; yield the page's URL."""
    command = [*COMMAND, "serve", str(collection), "--port", "0", "--http", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        told = next((line for line in server.stdout or () if line.startswith("EXPLORER")), "")
        found = re.search(r"http://\S+", told)
        if found is None:
            sys.exit("The server did not tell of a page.")
        yield found.group().rstrip("/")
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def take(browser: Any, address: str, shot: Shot) -> None:
    width, height = shot.size
    context = browser.new_context(
        base_url=address,
        viewport={"width": width, "height": height},
        color_scheme="dark" if shot.dark else "light",
        device_scale_factor=2 if width < 500 else 1,
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    image = context.request.get("/api/image", params={"key": EXAMPLE}).json()["image"]
    page.goto(shot.path.format(id=image["id"]))
    expect(page.locator(shot.ready).first).to_be_visible(timeout=PATIENCE_MS)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=OUT / f"{shot.name}.png")
    context.close()


if __name__ == "__main__":
    main()
