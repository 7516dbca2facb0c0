"""Every user mistake gives one sentence and the right exit code, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytestmark = pytest.mark.xdist_group("e2e")
# These import torch, which takes seconds: only the first one runs in a process of its own.
HEAVY = {"index", "embed", "cluster"}
Run = Callable[..., CompletedProcess[str]]

MISTAKES = [
    # arguments, exit code, words that the sentence must contain
    (["index", "{nowhere}", "--collection", "{new}"], 1, ["nowhere"]),
    (["index", "{empty}", "--collection", "{new}"], 2, ["empty"]),
    (["index", "{pictures}", "--collection", "{new}", "--model", "resnet1520"], 2, ["resnet1520", "resnet152"]),
    (["index", "{pictures}", "--collection", "{new}", "--weights", "{nowhere}.pth"], 1, ["nowhere.pth"]),
    (["index", "{pictures}", "--collection", "{new}", "--weights", "untrained:x"], 2, ["untrained"]),
    (["index", "{pictures}", "--collection", "{new}", "--gpus", "7"], 1, ["GPU"]),
    (["index", "{pictures}"], 2, ["--collection"]),
    (["embed", "{pictures}", "--collection", "{collection}", "--weights", "untrained:4"],
     1, ["squeezenet1_1", "untrained"]),
    (["cluster", "{collection}", "--clusters", "1000"], 2, ["1000", "60"]),
    (["cluster", "{collection}", "--clusters", "0"], 2, ["0"]),
    (["cluster", "{collection}", "--space", "nope"], 1, ["nope", "squeezenet1_1"]),
    (["build", "{collection}", "--index", "IVF9999x"], 2, ["IVF9999x"]),
    (["build", "{empty}"], 1, ["no collection"]),
    (["serve", "{empty}"], 1, ["no collection"]),
    (["serve", "{collection}", "--placement", "gpu"], 1, ["GPU"]),
    (["serve", "{collection}", "--host", "0.0.0.0"], 2, ["--insecure"]),
    (["info", "{empty}"], 1, ["no collection"]),
    (["search", "red/00.png", "--server", "127.0.0.1:1"], 1, ["127.0.0.1:1"]),
    (["search", "red/nope.png", "--server", "{address}"], 1, ["red/nope.png"]),
    (["search", "red/00.png", "--server", "{address}", "-k", "0"], 2, ["k"]),
    (["search", "red/00.png", "--server", "{address}", "--recall", "0.9", "--exact"], 2, ["exact"]),
    (["search", "{text}", "--server", "{address}"], 1, ["text.jpg", "not a JPEG"]),
    (["clusters", "red/nope.png", "--server", "{address}"], 1, ["red/nope.png"]),
    (["frobnicate"], 2, ["frobnicate"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    MISTAKES,
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_mistake_is_reported_in_one_sentence(
    arguments: list[str], code: int, words: list[str],
    pictures: Path, collection: Path, address: str, lookalike: Run, typed: Run, tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    places = {
        "nowhere": tmp_path / "nowhere", "new": tmp_path / "new", "empty": tmp_path / "empty",
        "text": tmp_path / "text.jpg", "pictures": pictures, "collection": collection, "address": address,
    }  # fmt: skip
    run = typed if arguments[0] in HEAVY and arguments != MISTAKES[0][0] else lookalike
    done = run(*[argument.format(**places) for argument in arguments])
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("Error: ")
    for word in words:
        assert word in message
