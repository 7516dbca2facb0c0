"""Suite explorer: the page in headless Chromium, with its first view, a click on a neighbor, and a moved map.

Times are taken in the page, from the start of loading or from the click to the frame
after the images in the window are painted.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lookalike_benchmarks.explored import write_explorable
from lookalike_benchmarks.options import Options
from lookalike_benchmarks.processes import in_fresh_process
from lookalike_benchmarks.results import Row, Settings
from lookalike_benchmarks.serving import listening, serving

USUAL = {"rows": "20000", "points": "100000", "dim": "64", "clusters": "100", "rounds": "15", "graphics": "software"}
QUICK = {"rows": "600", "points": "2000", "dim": "16", "clusters": "8", "rounds": "2"}

_FLAGS = ("--no-sandbox", "--disable-background-networking", "--no-first-run", "--disable-dev-shm-usage")
_SOFTWARE = ("--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader")
_PATIENCE_MS, _LOOK_MS = 120_000, 20
# Script in the page that reports when the window is painted, or the error that is shown instead.
_WATCH = """
(() => {
  const view = () => document.querySelector("main")?.firstElementChild;
  const ended = () => {
    const main = document.querySelector("main");
    if (main?.getAttribute("aria-busy") !== "false") return "";
    const alert = main.querySelector("[role=alert]:not([hidden])");
    if (alert) return alert.textContent;
    const near = [...main.querySelectorAll("img")].filter((each) => each.getBoundingClientRect().top < innerHeight);
    return near.length > 0 && near.every((each) => each.complete && each.naturalWidth) ? "painted" : "";
  };
  const wait = (from, was) => requestAnimationFrame(() => {
    const how = view() === was ? "" : ended();
    if (!how) wait(from, was);
    else requestAnimationFrame(() => (window.took = { ms: performance.now() - from, how }));
  });
  window.took = null;
  wait(0, undefined);
  addEventListener("click", () => {
    window.took = null;
    wait(performance.now(), view());
  }, true);
})();
"""
_FRAMES = """
() => { window.frames_ = []; let last = performance.now(); window.counting = true;
  const next = (now) => {
    window.frames_.push(now - last);
    last = now;
    if (window.counting) requestAnimationFrame(next);
  };
  requestAnimationFrame(next); }
"""


def run(settings: Settings) -> Iterator[Row]:
    """Yield the rows of the suite explorer."""
    from playwright.sync_api import sync_playwright

    options = Options(settings, USUAL, QUICK)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = [*_FLAGS, *(_SOFTWARE if options.text("graphics") == "software" else ())]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        params = {"rounds": options.number("rounds"), "graphics": options.text("graphics")}
        with _page(Path(folder), options.number("rows"), options, settings.seed) as address:
            yield from _looking(browser, address, options.number("rows"), params)
        with _page(Path(folder), options.number("points"), options, settings.seed) as address:
            yield from _panning(browser, address, options.number("points"), params)
        browser.close()


@contextmanager
def _page(folder: Path, rows: int, options: Options, seed: int) -> Iterator[str]:
    """Serve the page for a collection of `rows` images while the block runs; yield its URL."""
    numbers = (rows, options.number("dim"), options.number("clusters"), seed)
    root = in_fresh_process(write_explorable, folder, *numbers).result
    with serving(root) as running:
        command = [sys.executable, "-m", "lookalike", "explore", "--server", running.address, "--http", "0"]
        with listening([*command, "--no-browser"], r"EXPLORER of .* on (http://\S+)/") as explorer:
            yield explorer.address


def _looking(browser: Any, address: str, rows: int, params: dict[str, Any]) -> Iterator[Row]:
    firsts, clicks = [], []
    for number in range(params["rounds"]):
        # A new context has an empty cache.
        context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(_PATIENCE_MS)
        context.add_init_script(_WATCH)
        page = context.new_page()
        page.goto("/")
        firsts.append(_took(page))
        page.goto(f"/search?id={number * 97 % rows}")
        _took(page)
        for _ in range(5):
            page.locator("main .tile > a").nth(3).click()
            clicks.append(_took(page))
        context.close()
    # In the first round all caches are empty, and the server starts its decoding processes.
    measured = {**_spread(firsts), "first_ms": round(firsts[0], 1)}
    yield Row("explorer", f"first view, {rows:,} images", params, measured, "browser cache empty")
    yield Row("explorer", f"neighbor clicked, {rows:,} images", params, _spread(clicks), "24 images, most not seen")


def _took(page: Any) -> float:
    """Return the milliseconds; polls from outside, because the page's policy forbids evaluating text in the page."""
    for _ in range(_PATIENCE_MS // _LOOK_MS):
        if (took := page.evaluate("window.took")) is not None:
            if took["how"] != "painted":
                raise RuntimeError(f"{page.url} said instead of showing images: {took['how']}")
            return float(took["ms"])
        page.wait_for_timeout(_LOOK_MS)
    raise TimeoutError(f"{page.url} was not painted within {_PATIENCE_MS} ms")


def _panning(browser: Any, address: str, points: int, params: dict[str, Any]) -> Iterator[Row]:
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto("/map")
    page.wait_for_selector(".stage[data-inside]", timeout=_PATIENCE_MS)
    page.mouse.move(500, 400)
    page.mouse.down()
    page.evaluate(_FRAMES)
    # Move far enough to leave the margin that is drawn beyond the window's edge.
    for step in range(240):
        page.mouse.move(500 + 450 * np.sin(step / 20), 400 + 350 * np.sin(step / 13))
    page.evaluate("window.counting = false")
    page.mouse.up()
    frames = page.evaluate("window.frames_.slice(1)")
    context.close()
    measured = {**_spread(frames), "frames": len(frames), "over_34_ms": sum(each > 34 for each in frames)}
    yield Row("explorer", f"map panned, {points:,} points", params, measured, "milliseconds between frames")


def _spread(times: list[float]) -> dict[str, float]:
    return {f"p{percent}_ms": round(float(np.percentile(times, percent)), 1) for percent in (50, 95)}
