"""Run the Python code of the README and the documents unchanged, on local images."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.xdist_group("e2e")
Serve = Callable[..., AbstractContextManager[str]]
ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = ("README.md", "docs/python.md", "docs/collection.md")
SNIPPETS = [
    (page, text)
    for page in PAGES
    for text in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
]


@pytest.mark.parametrize(("page", "snippet"), SNIPPETS, ids=lambda text: text.splitlines()[0])
def test_snippet_runs(
    page: str,
    snippet: str,
    collection: Path,
    pictures: Path,
    address: str,
    serve: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack:
        if "upsert" in snippet:
            copied = Path(shutil.copytree(collection, tmp_path / "copied"))
            address = stack.enter_context(serve(copied, "--writable"))
        monkeypatch.setenv("LOOKALIKE_SERVER", address)
        check(snippet, collection, pictures, address, capsys)


def check(snippet: str, collection: Path, pictures: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    here = {
        "127.0.0.1:50051": address,
        "dogs/0017.jpg": "red/01.png",
        "my.jpg": str(pictures / "blue" / "01.png"),
        "pictures/": f"{collection}/",
        "resnet152": "squeezenet1_1",
    }
    for written, real in here.items():
        snippet = snippet.replace(written, real)
    stored = np.stack(pq.read_table(collection / "embeddings" / "squeezenet1_1").column("embedding").to_numpy())
    names: dict[str, object] = {"vectors": stored[:3]}
    exec(snippet, names)  # noqa: S102 - our own README
    if "many" in names:
        assert len(names["many"]) == 3
        assert "red/" in capsys.readouterr().out
    elif "embedded" in names:
        assert len(names["found"]) == 3
        assert names["embedded"].shape == (2, 512)
    elif "done" in names:
        assert "dogs/0099.jpg" in names["found"].keys
    elif "predictions" in names:
        assert "red" in capsys.readouterr().out
    elif "images" in names:
        assert len(names["images"]) == len(names["vectors"]) == 60
    else:
        assert "red" in capsys.readouterr().out


def test_pages_have_the_client_and_the_tables() -> None:
    assert [page for page, _ in SNIPPETS] == [
        "README.md",
        *["docs/python.md"] * 3,
        *["docs/collection.md"] * 2,
    ]


def test_links_of_the_pages_lead_to_files() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
