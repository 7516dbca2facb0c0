"""The command line: output, montages, and exit codes."""

import functools
import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import click
import grpc
import numpy as np
import psutil
import pytest
from PIL import Image

from lookalike.cli import _commands, _text
from lookalike.cli._catalog import ANALYSES, SECTIONS


@pytest.fixture
def cli(cli, monkeypatch, tmp_path):
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return cli


def red(path: Path, size=(200, 100)) -> Path:
    Image.new("RGB", size, (255, 0, 0)).save(path)
    return path


def test_search_prints_csv(cli):
    code, out, err = cli("search", "dogs/04.jpg", "-k", 1, "--csv")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "rank,id,key,label,distance"
    assert out.splitlines()[1].startswith("1,3,dogs/03.jpg,dogs,0.015")
    assert cli("search", "dogs/04.jpg", "--csv", "--json")[0] == 2


def test_search_prints_an_aligned_table_and_what_served_it(cli):
    code, out, err = cli("search", "dogs/04.jpg", "-k", 3)
    assert code == 0
    assert err == ""
    assert out.splitlines() == [
        "rank  distance (cosine)  label  key",
        "   1             0.0152  dogs   dogs/03.jpg",
        "   2             0.0152  cats   cats/05.jpg",
        "   3             0.0603  dogs   dogs/02.jpg",
        "served by circle generation 1, space toy, cpu, nprobe 4 (recall@3 0.95), 1.5 ms",
    ]


def test_search_shows_an_image_without_a_label(cli):
    code, out, _ = cli("search", "other/ünï 10.jpg", "-k", 1, "--include-self", "--exact")
    assert code == 0
    assert out.splitlines()[1] == "   1             0.0000  -      other/ünï 10.jpg"
    assert out.splitlines()[2].endswith("space toy, cpu, exact, 1.5 ms")


def test_search_prints_json(cli, geometry):
    code, out, _ = cli("search", "dogs/01.jpg", "-k", 2, "--json", "--recall", 0.99)
    answer = json.loads(out)
    assert code == 0
    assert answer["query"] == {"key": "dogs/01.jpg"}
    first = answer["neighbors"][0]
    assert first == {
        "rank": 1,
        "id": 0,
        "key": "dogs/00.jpg",
        "label": "dogs",
        "distance": pytest.approx(geometry(10), abs=1e-6),
    }
    assert answer["served"]["generation"] == 1
    assert answer["served"]["nprobe"] == 8
    assert answer["served"]["timings"]["total_us"] == 1500


def test_local_file_is_searched_by_content(cli, tmp_path):
    code, out, err = cli("search", red(tmp_path / "my picture.png"), "-k", 1)
    assert (code, err) == (0, "")
    assert "cats/09.jpg" in out


def test_file_goes_before_a_key_unless_the_key_option_is_given(cli, tmp_path):
    (tmp_path / "dogs").mkdir()
    red(tmp_path / "dogs" / "00.jpg")
    code, out, err = cli("search", "dogs/00.jpg", "-k", 1)
    assert code == 0
    assert "cats/09.jpg" in out
    assert err == "dogs/00.jpg is a file here and a key of the collection: asking by the file; --key asks by key.\n"
    code, out, err = cli("search", "dogs/00.jpg", "-k", 1, "--key")
    assert (code, err) == (0, "")
    assert "dogs/01.jpg" in out


def test_non_utf8_file_name_can_be_searched(cli):
    name = os.fsdecode(b"caf\xe9.png")
    red(Path("plain.png")).rename(name)
    code, out, err = cli("search", name, "-k", 1, "--json", "--montage", "near.png")
    assert code == 0
    assert json.loads(out)["neighbors"][0]["key"] == "cats/09.jpg"
    assert err == "Wrote near.png\n"


def test_argument_neither_file_nor_key_is_reported(cli, tmp_path):
    code, out, err = cli("search", "nope.jpg")
    assert (code, out) == (1, "")
    assert err == (
        "Error: 'nope.jpg' is neither a file here nor a key of the collection; lookalike images lists the keys.\n"
    )
    assert cli("search", "nope.jpg", "--key")[2].startswith("Error: The collection circle has no image")
    (tmp_path / "folder").mkdir()
    code, _, err = cli("search", "folder")
    assert code == 2
    assert "'folder' is a folder; name an image file" in err
    assert cli("search", "x" * 5000)[0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-k", "five"), "Invalid value for '-k': 'five' is not a whole number."),
        (("--nprobe", "1.5"), "'1.5' is not a whole number."),
        (("--recall", "all"), "'all' is not a number."),
        (("-k", "0"), "0 is not in the range x>=1."),
    ],
)
def test_wrong_number_is_explained_without_terms_of_the_parser(cli, options, message):
    code, out, err = cli("search", "dogs/01.jpg", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "integer" not in err
    assert "float" not in err


def test_missing_option_is_explained(cli):
    code, _, err = cli("attach", "collection", "table.csv")
    assert code == 2
    assert "Error: Missing option '--key'. The column of TABLE that has the images' keys." in err
    assert "Missing option '-n'. Images to choose." in cli("sample", "--server", "none:1")[2]


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_text_is_rejected_with_the_name_of_the_option(cli, text):
    code, out, err = cli("search", "--text", text)
    assert (code, out) == (2, "")
    assert err.endswith("Error: --text needs at least one word.\n")


def test_untrained_weights_are_reported(cli, toy):
    toy.pretrained = False
    for command in (("search", "dogs/01.jpg"), ("clusters", "dogs/01.jpg"), ("info",)):
        code, out, _ = cli(*command)
        assert code == 0
        assert "Untrained: the network's weights are random" in out
    assert json.loads(cli("search", "dogs/01.jpg", "--json")[1])["served"]["pretrained"] is False


def test_clusters_prints_table_and_requested_members(cli):
    code, out, _ = cli("clusters", "dogs/01.jpg")
    assert code == 0
    assert out.splitlines() == [
        "clustering  cluster  metric     distance  margin  size",
        "toy/halves        0  Euclidean    0.1743  0.8257     5",
        "served by circle generation 1, space toy, cpu, nprobe 4 (recall@10 0.95), 1.5 ms",
    ]
    _, out, _ = cli("clusters", "dogs/01.jpg", "--members", 2)
    assert out.splitlines()[2:7] == [
        "",
        "toy/halves cluster 0, 5 members, nearest to the centroid:",
        "rank  distance (Euclidean)  label  key",
        "   1                0.0000  dogs   dogs/02.jpg",
        "   2                0.1743  dogs   dogs/01.jpg",
    ]


def test_clusters_prints_json_that_every_parser_reads(cli):
    answer = json.loads(cli("clusters", "dogs/01.jpg", "--json", "--members", 1)[1])
    (one,) = answer["clusters"]
    assert (one["clustering"], one["cluster"], one["size"], one["metric"]) == ("toy/halves", 0, 5, "l2")
    assert one["nearest"][0]["key"] == "dogs/02.jpg"
    lone = json.loads(cli("clusters", "other/ünï 10.jpg", "--json")[1])["clusters"][0]
    assert (lone["cluster"], lone["distance"], lone["nearest"]) == (None, None, [])


def test_info_describes_the_collection_behind_a_server(cli, toy):
    code, out, _ = cli("info")
    assert code == 0
    assert out.splitlines() == [
        "circle, generation 1: images 11, labels 2; files that could not be read: 1",
        "",
        "space          network, layer, pooling  weights      dim  images  index",
        "toy (default)  toynet, avgpool, avg     imagenet:V1    2      11  "
        "IVF8,Flat (cosine, nprobe 4, recall@10 0.95)",
        "toy.max        toynet, avgpool, avg     imagenet:V1    2      11  none",
        "",
        "clustering  k  images  inertia  strategy",
        "toy/halves  2      10   1.2500  spherical",
        "",
        f"server {toy.address}: version 1.2.3, placement cpu on cpu, search threads 2",
        "limits: 256 queries a call, k 1000, nprobe 8, images of 20 MB",
    ]
    toy.image_queries = False
    assert "no queries by image: the weights are not here" in cli("info")[1]


def test_info_of_a_folder_prints_the_same_by_the_same_printer(cli, monkeypatch, toy):
    of_server = json.loads(cli("info", "--json")[1])
    of_server.pop("server")

    def entry_points(group):
        entry = metadata.EntryPoint("folder", "described:describe", group)
        return [entry] if group == "lookalike.describe" else []

    class Described:
        @staticmethod
        def describe(path):
            return {**of_server, "name": path}

    monkeypatch.setitem(sys.modules, "described", Described)
    monkeypatch.setattr("lookalike.cli.info.metadata.entry_points", entry_points)
    code, out, _ = cli("info", "square")
    assert code == 0
    assert out == cli("info")[1].replace("circle,", "square,").partition("\n\nserver")[0] + "\n"
    assert json.loads(cli("info", "square", "--json")[1]) == {**of_server, "name": "square"}
    of_server["spaces"][0].update(model="mine", layer="imported", pooling="avg")
    assert "toy (default)  imported vectors  " in cli("info", "square")[1]
    code, _, err = cli("info", "square", "--server", toy.address)
    assert code == 2
    assert "a folder or a --server, not both" in err


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "[::1]:50051", "photos.local:50051"])
def test_info_of_an_address_in_place_of_a_folder_explains_how_to_write_it(cli, address):
    code, _, err = cli("info", address)
    assert code == 2
    assert f"{address} is the address of a server; write --server {address}." in err


def test_info_of_a_folder_without_the_indexer_explains_what_to_install(cli, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lookalike_indexer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lookalike_indexer", None)
    code, _, err = cli("info", "somewhere")
    assert code == 1
    assert "pip install 'lookalike[indexer]'" in err


# Layout of a montage: a title of 49 pixels, tiles of 160 and gaps of 14, three lines of 16 below.
GAP = 14
TOP, STEP = 16 + 23 + GAP, 160 + 4 + 3 * 16 + GAP
GREEN, RED, BLUE = (0x2A, 0x8A, 0x3A), (0xC0, 0x20, 0x20), (0x10, 0x60, 0xC0)


def center(column: int, row: int, top: int = TOP) -> tuple[int, int]:
    return 16 + (160 + GAP) * column + 80, top + STEP * row + 80


def frame(pixels: np.ndarray, column: int, row: int, top: int = TOP) -> tuple[int, ...]:
    """Return the color above a tile."""
    x, y = center(column, row, top)
    return tuple(pixels[y - 82, x].tolist())


def test_montage_shows_the_query_then_the_neighbors(cli, tmp_path):
    red(tmp_path / "mine.png")
    code, out, _ = cli("search", "mine.png", "-k", 7, "--montage", "near.png")
    assert code == 0
    assert out.splitlines()[-1] == "Wrote near.png"
    with Image.open(tmp_path / "near.png") as montage:
        assert montage.size == (2 * 16 + 6 * (160 + GAP) - GAP, TOP + 2 * STEP + 16)
        pixels = np.asarray(montage.convert("RGB")).astype(int)
    expected = [(255, 0, 0)] + [(25 * i, 128, 255 - 25 * i) for i in (9, 8, 7, 6, 5, 4, 3)]
    for number, color in enumerate(expected):
        x, y = center(number % 6, number // 6)
        assert pixels[y, x] == pytest.approx(color, abs=6), number
    for number in range(8):  # each tile has a caption: dark ink on white paper
        x, y = center(number % 6, number // 6)
        caption = pixels[y + 85 : y + 132, x - 80 : x + 80]
        assert 40 < (caption.sum(axis=2) < 300).sum() < 2500, number
    assert (pixels[-100:, -300:] == 255).all()  # nothing beyond the last tile
    assert (pixels[16:39, :400].sum(axis=2) < 300).sum() > 200, "a title"
    # A file has no label to share.
    assert [frame(pixels, number % 6, number // 6) for number in range(8)] == [BLUE, *[(255, 255, 255)] * 7]


def test_montage_of_a_key_shows_its_image_or_a_blank_tile(cli, tmp_path):
    _, _, err = cli("search", "dogs/03.jpg", "-k", 1000, "--montage", "near.png")
    assert "The server cannot read 1 of 10 images." in err
    assert "lookalike relocate DIR FOLDER" in err
    with Image.open(tmp_path / "near.png") as montage:
        pixels = np.asarray(montage.convert("RGB")).astype(int)
    x, y = center(0, 0)
    assert pixels[y, x] == pytest.approx((75, 128, 180), abs=6)
    x, y = center(10 % 6, 10 // 6)
    assert pixels[y - 60, x].tolist() == [0xE4] * 3
    # Dogs have a green frame, cats a red one, and an image without a label has none.
    _, out, _ = cli("search", "dogs/03.jpg", "-k", 1000, "--json")
    labels = [one["label"] for one in json.loads(out)["neighbors"]]
    frames = {"dogs": GREEN, "cats": RED, None: (255, 255, 255)}
    assert {"dogs", "cats"} <= set(labels)
    for number, label in enumerate(labels, 1):
        assert frame(pixels, number % 6, number // 6) == frames[label], number


def test_montage_of_clusters_shows_the_members(cli, tmp_path):
    code, out, err = cli("clusters", "cats/05.jpg", "--montage", "home.png", "--json")
    assert code == 0
    assert err == "Wrote home.png\n"
    assert len(json.loads(out)["clusters"][0]["nearest"]) == 5
    with Image.open(tmp_path / "home.png") as montage:
        # Below the montage's title and the clustering's title.
        top = TOP + 2 * 16 - GAP // 2
        assert montage.size == (2 * 16 + 6 * (160 + GAP) - GAP, TOP + 2 * 16 + STEP + 16)
        pixels = np.asarray(montage.convert("RGB")).astype(int)
    x, y = center(1, 0, top)
    assert pixels[y, x] == pytest.approx((175, 128, 80), abs=6)
    assert [frame(pixels, column, 0, top) for column in range(3)] == [BLUE, GREEN, GREEN]


def test_upright_query_is_drawn_upright(cli, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated
    Image.new("RGB", (300, 100), (255, 0, 0)).save(tmp_path / "turned.jpg", exif=exif)
    cli("search", "turned.jpg", "-k", 1, "--montage", "near.png")
    with Image.open(tmp_path / "near.png") as montage:
        pixels = np.asarray(montage.convert("RGB")).astype(int)
    tile = (np.abs(pixels[TOP : TOP + 160, 16:176] - (255, 0, 0)).sum(axis=2) < 30).nonzero()
    assert np.ptp(tile[0]) > 150
    assert np.ptp(tile[1]) < 60


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("near.txt", "cannot be written as '.txt'"),
        ("near", "a file without suffix"),
        ("no/near.png", "'no' does not exist"),
    ],
)
def test_montage_that_cannot_be_written_is_rejected_before_any_work(cli, toy, path, sentence):
    code, _, err = cli("search", "dogs/01.jpg", "--montage", path)
    assert code == 2
    assert sentence in err
    assert toy.calls == []


def test_thumbnails_are_requested_within_the_servers_limits(cli, toy):
    toy.max_batch = 4
    assert cli("search", "dogs/01.jpg", "--montage", "near.png")[0] == 0
    sizes = [len(r.ids) for m, r in zip(toy.calls, toy.requests, strict=True) if m == "GetThumbnails"]
    assert sizes == [10, 4, 4, 2, 1]  # the first call is rejected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("search",), "Name an image or a key, or give --text"),
        (("search", "a", "-k", "0"), "0 is not in the range x>=1"),
        (("search", "a", "--recall", "0"), "not in the range"),
        (("search", "a", "--exact", "--nprobe", "3"), "at most one of --nprobe, --recall and --exact"),
        (("search", "a", "--server", "http://here"), "'http://here'; it must be like '127.0.0.1:50051'"),
        (("search", "dogs/01.jpg", "-k", "1001"), "k is 1001, and may be 1000 at most"),
        (("sarch", "a"), "No such command 'sarch'"),
        (("completion", "tcsh"), "is not one of"),
    ],
)
def test_wrong_usage_exits_with_two(cli, arguments, sentence):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_pipe_is_a_query_file_and_is_drawn_too(cli, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = red(tmp_path / "red.png").read_bytes()
    for command in (["search", "-k", 1], ["clusters"]):
        writer = threading.Thread(target=pipe.write_bytes, args=[data])
        writer.start()
        code, out, err = cli(*command, pipe, "--json", "--montage", "out.png")
        writer.join()
        assert (code, err) == (0, "Wrote out.png\n")
        assert json.loads(out)["query"] == {"image": str(pipe)}
        with Image.open("out.png") as drawn:
            # a pixel of the first tile, which is the query
            assert drawn.convert("RGB").getpixel((90, TOP + 90)) == (255, 0, 0)


def test_standard_input_is_a_query(cli, tmp_path, monkeypatch):
    data = red(tmp_path / "red.png").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    code, out, err = cli("search", "-", "-k", 1, "--json", "--montage", "out.png")
    assert (code, err) == (0, "Wrote out.png\n")
    assert json.loads(out)["query"] == {"image": "-"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    code, _, err = cli("clusters", "-")
    assert code == 2
    assert "Standard input is empty" in err


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/elsewhere?"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.end_headers()
        elif self.path == "/cut.png":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    """The URL of a file server, and the folder that it serves."""
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_address_of_the_web_is_a_query(cli, tmp_path, web, monkeypatch):
    red(tmp_path / "red.png")
    code, out, _ = cli("search", f"{web}/red.png", "-k", 1, "--json")
    assert code == 0
    assert json.loads(out)["query"] == {"image": f"{web}/red.png"}
    code, _, err = cli("search", f"{web}/none.png")
    assert code == 1
    assert f"{web}/none.png cannot be fetched: " in err
    monkeypatch.setattr("lookalike.cli._fetch._MOST_BYTES", 10)
    code, _, err = cli("search", f"{web}/red.png")
    assert code == 2
    assert "more than 0 MiB" in err


def test_incomplete_download_is_reported(cli, tmp_path, web, monkeypatch):
    red(tmp_path / "red.png")
    code, _, _ = cli("search", f"{web}/elsewhere?/red.png", "-k", 1, "--json")
    assert code == 0
    for address, sentence in [
        (f"{web}/cut.png", "only 9 of 1,000 bytes came"),
        (f"{web}/elsewhere?ftp://127.0.0.1:1/red.png", "only http:// and https:// are"),
        (f"{web}/red .png", "cannot be fetched"),
        (f"{web}:x/red.png", "cannot be fetched"),
    ]:
        code, _, err = cli("search", address)
        assert code == 1, address
        assert sentence in err
        assert "Unexpected" not in err
    monkeypatch.setattr("lookalike.cli._fetch._LONGEST_S", 0.0)
    code, _, err = cli("search", f"{web}/red.png")
    assert code == 1
    assert "takes longer than" in err


def test_pipe_holds_no_more_than_an_image_may(cli, tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr("lookalike.cli._fetch._MOST_BYTES", 10)
    writer = threading.Thread(target=pipe.write_bytes, args=[bytes(100)])
    writer.start()
    code, _, err = cli("search", pipe)
    writer.join()
    assert code == 2
    assert "more than 0 MiB" in err


def test_device_other_than_a_pipe_is_a_key(cli):
    code, _, err = cli("search", os.devnull)
    assert code == 1
    assert "'/dev/null' is neither a file here nor a key of the collection" in err


def test_missing_server_exits_with_code_1(cli):
    code, _, err = cli("info", "--server", "127.0.0.1:1")
    assert code == 1
    assert err.startswith("Error: No server answers at 127.0.0.1:1: is `lookalike serve` running there?")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("info", "--server", "127.0.0.1:999999"), "'127.0.0.1:999999'; its port 999999 must be 1 to 65535"),
        (("search", "a", "--server", "[::1]:0"), "its port 0 must be 1 to 65535"),
        (("explore", "--http", 999999), "--http 999999 is not a port; use 1 to 65535"),
        (("explore", "--http", 0, "--server", "localhost:999999"), "its port 999999 must be 1 to 65535"),
    ],
)
def test_every_command_rejects_an_invalid_port(cli, arguments, sentence):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err


@pytest.mark.parametrize("tls_address", [False], ids=["server only"], indirect=True)
def test_tls_server_is_called_with_its_authority(cli, tls_address, certificates):
    code, out, _ = cli("info", "--server", tls_address, "--ca", certificates.ca)
    assert code == 0
    assert out.startswith("circle, generation 1")
    assert cli("search", "dogs/01.jpg", "--server", tls_address, "--tls")[0] == 1  # no public authority has signed it
    code, _, err = cli("clusters", "dogs/01.jpg", "--ca", "none.pem")
    assert code == 2
    assert "TLS ca: 'none.pem' cannot be read" in err


def test_server_is_read_from_the_environment_when_called(cli, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_SERVER", "127.0.0.1:1")
    assert cli("search", "dogs/01.jpg")[0] == 1


def test_full_server_reports_retry_after(cli, toy):
    from google.protobuf import duration_pb2
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status()
    # After the timeout of the command, so it does not retry.
    delay = duration_pb2.Duration(seconds=40, nanos=500_000_000)
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    trailing = [("grpc-status-details-bin", status.SerializeToString())]
    toy.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "The queue is full.", trailing=trailing)
    assert cli("search", "dogs/01.jpg")[::2] == (1, "Error: The queue is full. Try again in 40.5 s.\n")


def test_unexpected_error_is_one_line_and_debug_mode_shows_the_traceback(cli, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("the moon is in the wrong place")

    monkeypatch.setattr("lookalike.cli.search.served_lines", broken)
    monkeypatch.delenv("LOOKALIKE_DEBUG", raising=False)
    code, out, err = cli("search", "dogs/01.jpg")
    assert (code, out) == (1, "")
    assert err == (
        "Error: Unexpected RuntimeError: the moon is in the wrong place. "
        "Run it again with LOOKALIKE_DEBUG=1 to see where.\n"
    )
    monkeypatch.setenv("LOOKALIKE_DEBUG", "1")
    with pytest.raises(RuntimeError, match="moon"):
        cli("search", "dogs/01.jpg")


@pytest.mark.parametrize("how", ["cause", "context"])
def test_wrapped_keyboard_interrupt_is_an_interruption(cli, monkeypatch, how):
    """numpy raises such an error if its import is interrupted."""

    def interrupted(*_args, **_kwargs):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            if how == "cause":
                raise ImportError("no datetime") from error
            raise RuntimeError("Error calling __set_name__")  # noqa: B904 - as C code raises

    monkeypatch.setattr("lookalike.cli.search.served_lines", interrupted)
    assert cli("search", "dogs/01.jpg") == (130, "", "")


def test_error_during_the_cleanup_of_an_interrupted_command_is_reported(cli, monkeypatch):
    def full(*_args, **_kwargs):
        try:
            raise KeyboardInterrupt
        finally:
            raise OSError("No space left on device")

    monkeypatch.setattr("lookalike.cli.search.served_lines", full)
    code, _, err = cli("search", "dogs/01.jpg")
    assert code == 1
    assert "No space left on device" in err


def test_circular_error_causes_are_reported(cli, monkeypatch):
    def entangled(*_args, **_kwargs):
        first, second = ValueError("one"), ValueError("two")
        first.__cause__, second.__context__ = second, first
        raise first

    monkeypatch.setattr("lookalike.cli.search.served_lines", entangled)
    assert cli("search", "dogs/01.jpg")[0] == 1


def names_in(help_page: str) -> list[str]:
    """Return the commands that a help page lists, each with its summary on one line."""
    return re.findall(r"^  ([a-z][a-z-]*)  +[A-Z].*\.$", help_page, re.MULTILINE)


def test_help_lists_every_command_by_sections_with_whole_summaries(cli):
    code, out, _ = cli("--help")
    assert code == 0
    # An editable install has the entry points of the day it was installed.
    installed = {*metadata.entry_points(group="lookalike.commands").names, "bench", "analyze"}
    wanted = [name for section in SECTIONS.values() for name in section if name in installed]
    assert names_in(out) == wanted
    assert [line for line in out.splitlines() if line.rstrip(":") in SECTIONS] == [f"{title}:" for title in SECTIONS]
    assert installed == {*wanted, *ANALYSES}


def test_analyses_are_a_group_of_their_own_and_keep_their_names(cli):
    code, out, _ = cli("analyze", "--help")
    assert code == 0
    assert names_in(out) == list(ANALYSES)
    for arguments in (["analyze", "matrix"], ["matrix"]):
        code, out, _ = cli(*arguments, "--help")
        assert code == 0
        assert "cluster" in out
    assert cli("analyze", "gc")[0] == 2


def test_mistyped_command_or_the_option_of_another_tool_is_guessed(cli):
    assert cli("serach", "a.jpg")[2].endswith("Error: No such command 'serach'. Did you mean 'search'?\n")
    assert cli("search", "a.jpg", "--top-k", "3")[2].endswith("Error: No such option: --top-k. Use -k.\n")
    assert re.search("Did you mean '?--montage", cli("search", "a.jpg", "--montag", "x.png")[2])


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process in which a package is not installed."""
    program = f"import sys; sys.modules[{module!r}] = None; from lookalike.cli import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_missing_click_names_the_extra_to_install():
    done = without("click", "--help")
    assert done.returncode == 1
    assert done.stderr == "Error: the command line needs the package click: pip install 'lookalike[cli]'\n"


def test_commands_without_the_indexer_name_the_missing_package():
    listed = without("lookalike_indexer", "--help")
    assert listed.returncode == 0
    # A server can run analyses, but not all.
    assert {"search", "info", "serve", "analyze", "quality"} <= set(names_in(listed.stdout))
    assert not {"index", "sort", "gc"} & set(names_in(listed.stdout))
    analyses = set(names_in(without("lookalike_indexer", "analyze", "--help").stdout))
    assert "matrix" in analyses
    assert not {"report", "show"} & analyses
    done = without("lookalike_indexer", "matrix", "pictures")
    assert done.returncode == 2
    assert "lookalike matrix -c DIR. It needs pip install 'lookalike[experiments]'." in done.stderr
    more = " ".join(listed.stdout.split()).partition("More commands come with: ")[2]
    assert more.startswith("pip install 'lookalike[experiments]', pip install 'lookalike[indexer]'.")
    done = without("lookalike_indexer", "index", "photos", "--collection", "c")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: `lookalike index` needs lookalike_indexer, which is not installed here: "
        "pip install 'lookalike[indexer]'\n"
    )


def test_experiments_need_more_than_indexing_does():
    entry = metadata.EntryPoint("matrix", "lookalike_indexer.cli.matrix:matrix", "lookalike.commands")
    assert _commands._install(entry) == "pip install 'lookalike[experiments]'"


def test_package_missing_at_run_time_is_reported(cli, monkeypatch):
    @click.command()
    def embed() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(metadata.EntryPoint, "load", lambda _entry: embed)
    assert cli("embed")[::2] == (
        1,
        "Error: `lookalike embed` needs torch, which is not installed here: pip install 'lookalike[indexer]'\n",
    )


def test_commands_of_other_distributions_are_named_by_them():
    entry = metadata.EntryPoint("paint", "painters.cli:paint", "lookalike.commands")
    command = _commands._unavailable(entry, ModuleNotFoundError("No module named 'painters'", name="painters"))
    assert command.get_short_help_str(80) == "(not installed: pip install 'painters')"


def until_it_waits(pid: int) -> None:
    """Wait until a process is idle: under load, a call arrives before its caller has started to wait."""
    process, end = psutil.Process(pid), time.monotonic() + 60
    spent = None
    while spent != (spent := process.cpu_times()[:2]):
        assert time.monotonic() < end, "it never waited"
        time.sleep(0.2)


@pytest.fixture
def interruptible():
    """Restore Ctrl-C in child processes: shells make background processes, such as these tests, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_quietly_with_130(toy):
    toy.delay = 240
    command = [sys.executable, "-m", "lookalike", "info", "--server", toy.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            toy.until_asked()
            until_it_waits(process.pid)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert err.strip() == ""


def test_closed_output_pipe_is_no_error(toy):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lookalike", "search", "dogs/01.jpg", "--json", "--server", toy.address]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == ""


def test_terminal_with_few_characters_gets_escapes(toy):
    command = [sys.executable, "-m", "lookalike", "search", "other/ünï 10.jpg", "-k", "1", "--include-self"]
    environment = {**os.environ, "LOOKALIKE_SERVER": toy.address, "PYTHONIOENCODING": "koi8-r"}
    done = subprocess.run(command, capture_output=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0
    assert rb"other/\xfcn\xef 10.jpg" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_and_how_to_install_it(cli, shell, monkeypatch):
    code, out, _ = cli("completion", shell)
    assert code == 0
    assert f"_LOOKALIKE_COMPLETE={shell}_complete" in out
    assert f"lookalike completion {shell}" in out.splitlines()[-1]
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert cli("completion")[1] == out
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert cli("completion")[0] == 2


def test_shell_completes_commands_and_options(lookalike):
    done = lookalike(_LOOKALIKE_COMPLETE="bash_complete", COMP_WORDS="lookalike cl", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,cluster", "plain,clusters"]
    done = lookalike(_LOOKALIKE_COMPLETE="bash_complete", COMP_WORDS="lookalike analyze cl", COMP_CWORD="2")
    assert done.stdout.split() == ["plain,classes"]
    done = lookalike(_LOOKALIKE_COMPLETE="bash_complete", COMP_WORDS="lookalike search --mo", COMP_CWORD="2")
    assert done.stdout.split() == ["plain,--montage"]


def test_tables_align_wide_characters_and_show_no_control_characters():
    text = _text.table(("label", "n"), [("猫", 1), ("é", 22), ("a\x1b[31m\nb", 3)])
    lines = text.splitlines()
    assert lines == ["label          n", "猫             1", "é             22", r"a\x1b[31m\nb   3"]
    assert {_text.width(line) for line in lines} == {16}
