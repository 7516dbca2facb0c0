"""One collection through commands, a client, and its Parquet files: the same numbers everywhere."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.e2e.conftest import index_images

import lookalike as lookalike_client
from lookalike.cli._catalog import SERVED

pytestmark = pytest.mark.xdist_group("e2e")

KEY = "green/03.png"
# The network is untrained, so any of its classes may stand for a label.
CLASS_MAP = {"red": ["class 1", "class 2"], "green": ["3"], "blue": ["class 900"]}
# Each command, and the client's method with the same result.
ASKED: dict[str, tuple[list[str], Callable[[lookalike_client.Client], lookalike_client.Experiment]]] = {
    "matrix": (["matrix"], lambda client: client.class_matrix()),
    "classes": (
        ["classes", "--models", "resnet18", "--best", "2", "--class-map", "CLASS_MAP"],
        lambda client: client.class_accuracies("resnet18", best=2, class_map=CLASS_MAP),
    ),
    "explain": (["explain", KEY], lambda client: client.explain(key=KEY)),
    "show": (["show", KEY], lambda client: client.image_clusters(key=KEY, members=23)),
    "oddballs": (["oddballs", "--label", "green"], lambda client: client.oddballs(label="green")),
    "mistakes": (
        ["mistakes", "--model", "resnet18", "--limit", "4", "--class-map", "CLASS_MAP"],
        lambda client: client.mistakes("resnet18", limit=4, class_map=CLASS_MAP),
    ),
    "split": (["split", "red", "-k", "2"], lambda client: client.split_label("red", k=2)),
    "interpret": (["interpret", "--samples", "3"], lambda client: client.interpret_clusters(samples=3)),
    "duplicates": (
        ["duplicates", "DIR", "--max-distance", "0.01", "--limit", "3"],
        lambda client: client.duplicates(max_distance=0.01, limit=3),
    ),
    "leaks": (
        ["leaks", "DIR", "--split", "label", "--max-distance", "0.5", "--limit", "3"],
        lambda client: client.leaks("label", max_distance=0.5, limit=3),
    ),
    "label-issues": (["label-issues", "DIR", "--scores"], lambda client: client.label_issues(scores=True)),
    "sample": (["sample", "DIR", "-n", "4"], lambda client: client.sample(4)),
    "quality": (["quality", "DIR", "--limit", "2"], lambda client: client.quality(limit=2)),
}
# Inputs of some of these commands.
MADE = (["graph"], ["quality"])
# Stored results and their commands. The first one adds a model, so commands that read all spaces come later.
STORED = {
    "evolution": ["evolution", "--checkpoints", "CHECKPOINTS", "--model", "squeezenet1_1", "--clusters", "3"],
    "class_matrix": ["matrix"],
    "choose_k": ["choose-k", "--to", "5", "--seeds", "2"],
    "label_tree": ["dendrogram", "--most", "12"],
    "map": ["map", "--method", "pca"],
    "compare": ["compare", "--spaces", "resnet18", "--clusters", "4"],
}
# These differ from run to run, and are not stored.
COSTS = "costs"


def run_all(commands: list[list[str]]) -> list[Any]:
    """Return the JSON output of commands that run one after the other in one process."""
    command = [sys.executable, "-m", "tests.programs.run_commands", json.dumps(commands)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    told, rest = [], done.stdout
    while rest.strip():
        value, end = json.JSONDecoder().raw_decode(rest.lstrip())
        told.append(value)
        rest = rest.lstrip()[end:]
    return told


@pytest.fixture(scope="module")
def collection(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as a collection of a network that sees several classes in them, which SqueezeNet does not."""
    return index_images(pictures, tmp_path_factory.mktemp("collections") / "hues", "resnet18")


@pytest.fixture(scope="module")
def class_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("class_map") / "classes.csv"
    lines = [f"{label},{name}" for label, names in CLASS_MAP.items() for name in names]
    file.write_text("\n".join(["label,class", *lines]), "utf-8")
    return file


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write two states of a small network; return their pattern."""
    torch, torchvision = pytest.importorskip("torch"), pytest.importorskip("torchvision")
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2):
        torch.manual_seed(step)
        torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / f"step{step}.pth")
    return str(folder / "step*.pth")


@pytest.fixture(scope="module")
def printed(
    collection: Path, checkpoints: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return a copy of the collection with stored results, and the output of the commands that stored them, by kind."""
    folder = tmp_path_factory.mktemp("kept") / "hues"
    shutil.copytree(collection, folder)
    given = [[checkpoints if word == "CHECKPOINTS" else word for word in command] for command in STORED.values()]
    run_all([[*command, str(folder), "--json"] for command in MADE])
    told = run_all([[*command, "--collection", str(folder), "--keep", "first", "--json"] for command in given])
    return folder, dict(zip(STORED, told, strict=True))


@pytest.fixture(scope="module")
def kept(printed: tuple[Path, dict[str, Any]]) -> Path:
    return printed[0]


@contextmanager
def serving(kept: Path) -> Iterator[tuple[psutil.Process, str]]:
    """A server of the copy, and its address."""
    command = [sys.executable, "-m", "lookalike", "serve", str(kept), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield psutil.Process(process.pid), process.stdout.readline().split(" on ")[1].split(": ")[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def server(kept: Path) -> Iterator[tuple[psutil.Process, str]]:
    with serving(kept) as started:
        yield started


@pytest.fixture
def client(server: tuple[psutil.Process, str]) -> Iterator[lookalike_client.Client]:
    with lookalike_client.Client(server[1], timeout=240) as opened:
        yield opened


def equal(one: Any, other: Any) -> bool:
    """Return True for equal JSON values; numbers may differ after nine digits, since the order of sums may differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def plain(value: Any) -> Any:
    """Return the value as in JSON: None in place of NaN and infinity."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def in_order(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def as_data(found: lookalike_client.Experiment) -> dict[str, Any]:
    tables = {name: table.records() for name, table in found.tables.items()}
    figures = {name: value if math.isfinite(value) else None for name, value in found.figures.items()}
    return {
        "kind": found.kind,
        "settings": dict(found.settings),
        "figures": figures,
        "findings": list(found.findings),
        "tables": tables,
    }


@pytest.mark.parametrize("name", ASKED)
def test_command_and_the_client_give_the_same(name, typed, kept, server, client, class_map) -> None:
    arguments, ask = ASKED[name]
    arguments = [str(class_map) if argument == "CLASS_MAP" else argument for argument in arguments]
    if "DIR" in arguments:
        done = typed(*(kept if argument == "DIR" else argument for argument in arguments), "--json")
    else:
        done = typed(*arguments, "--collection", kept, "--json")
    assert done.returncode == 0, done.stderr
    printed, answered = json.loads(done.stdout), as_data(ask(client))
    assert any(printed["tables"].values())
    assert printed.keys() == answered.keys()
    for part in printed:
        assert equal(printed[part], answered[part]), part
    if name in SERVED:
        served = typed(*(word for word in arguments if word != "DIR"), "--server", server[1], "--json")
        assert served.returncode == 0, served.stderr
        assert equal(in_order(json.loads(served.stdout)), in_order(printed))


@pytest.mark.parametrize("kind", STORED)
def test_stored_result_is_the_same_from_every_interface(kind, lookalike, kept, printed, server, client) -> None:
    made = printed[1][kind]
    made["tables"].pop(COSTS, None)
    assert any(made["tables"].values())
    name = f"{kind}/first"
    of_folder = json.loads(lookalike("results", name, "--collection", kept, "--json").stdout)
    of_server = json.loads(lookalike("results", name, "--server", server[1], "--json").stdout)
    assert of_folder == of_server
    assert (of_folder.pop("name"), of_folder.pop("out_of_date")) == (name, False)
    asked = as_data(client.result(name))
    for part in made:
        same = made[part] if part != "tables" else dict(sorted(made[part].items()))
        assert same == of_folder[part], part
        # Settings are a map in the message, which has no order.
        assert equal(in_order(same), in_order(asked[part])), part
    paths = {path.stem: path for path in (kept / "results" / kind).rglob("*.parquet")}
    assert {table: plain(pq.read_table(path).to_pylist()) for table, path in paths.items()} == made["tables"]
    listed = {one.name: one for one in client.results()}
    assert listed.keys() == {f"{each}/first" for each in STORED}
    assert not listed[name].out_of_date
    assert listed[name].tables == {table: len(rows) for table, rows in made["tables"].items()}


def test_matrix_counts_every_image(kept, printed) -> None:
    images = pq.read_table(kept / "images").to_pylist()
    assert sum(row["count"] for row in printed[1]["class_matrix"]["tables"]["counts"]) == len(images)


def test_attribution_is_an_image_of_what_the_network_saw(client) -> None:
    cam = client.attribution(key=KEY)
    guided = client.attribution(key=KEY, method="gbp", class_index=cam.class_index)
    assert cam.class_name == f"class {cam.class_index}"
    assert cam.probability is not None
    assert 0 < cam.probability <= 1
    assert cam.probability == guided.probability
    assert cam.png != guided.png
    for found in (cam, guided):
        with Image.open(io.BytesIO(found.png)) as picture:
            assert picture.size == (224, 224)
            assert len(picture.convert("RGB").getcolors(1 << 16) or []) > 100
    assert client.attribution(key=KEY, class_index=3).class_name == "class 3"


@pytest.mark.own_process
def test_experiments_have_a_process_of_their_own_which_may_die(kept) -> None:
    with serving(kept) as (process, address), lookalike_client.Client(address, timeout=240) as client:
        client.class_matrix()
        loaded = " ".join(mapped.path for mapped in process.memory_maps())
        assert "sklearn" not in loaded
        assert "torch" not in loaded
        runs = [child for child in process.children() if "sklearn" in " ".join(m.path for m in child.memory_maps())]
        assert len(runs) == 1
        assert runs[0].nice() == min(19, process.nice() + 10)
        runs[0].kill()
        # UNAVAILABLE, which the client retries. Another request, since the reply to the first one is cached.
        assert client.explain(key="red/00.png").kind == "explain"
