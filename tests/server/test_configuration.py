"""Sources of settings: options, the environment, a file; and the messages for mistakes."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests.patience import PATIENT_ENVIRONMENT

from lookalike.v1 import server_pb2, server_pb2_grpc
from lookalike_indexer.collection.limits import ImageLimits
from lookalike_indexer.errors import UsageError
from lookalike_server.commands import cli
from lookalike_server.commands.configuration import read_configuration
from lookalike_server.commands.limit_options import chosen_limits
from lookalike_server.commands.options import Setting, settable
from lookalike_server.common.limits import MIB, Limits
from lookalike_server.common.settings import ServeSettings
from lookalike_server.transport.tokens import new_token

ROOT = Path(__file__).resolve().parents[2]
FIELDS = [field.name for field in dataclasses.fields(Limits)]

Started = Callable[..., tuple[ServeSettings | None, Result]]


@pytest.fixture
def started(make_toy, monkeypatch, tmp_path) -> Started:
    """Run `lookalike serve`; return the settings that a server would have started with, None if it would not."""
    root = make_toy().root
    for name in PATIENT_ENVIRONMENT:
        monkeypatch.delenv(name)

    def start(*options: object, file: str = "", **environment: str) -> tuple[ServeSettings | None, Result]:
        begun: list[ServeSettings] = []

        async def run(settings: ServeSettings, *others: Any) -> None:
            begun.append(settings)

        monkeypatch.setattr("lookalike_server.commands.lifecycle.run", run)
        monkeypatch.setattr(cli, "_leave", lambda: None)
        monkeypatch.setattr("lookalike_server.observe.logs.configure", lambda log_format: None)
        line = [str(root), *map(str, options)]
        if file:
            (tmp_path / "server.toml").write_text(file)
            line += ["--config", str(tmp_path / "server.toml")]
        result = CliRunner().invoke(cli.serve, line, env=environment)
        return (begun[0] if begun else None), result

    return start


def in_file(limits: dict[str, int]) -> str:
    return "[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items())


def in_environment(limits: dict[str, int]) -> dict[str, str]:
    return {f"LOOKALIKE_SERVE_{name.upper()}": str(value) for name, value in limits.items()}


def as_options(limits: dict[str, int]) -> list[str]:
    return [word for name, value in limits.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def test_every_limit_can_be_set_in_each_of_three_ways_and_options_win(started) -> None:
    less = [{name: getattr(Limits(), name) - by for name in FIELDS} for by in (1, 2, 3)]
    for sources, expected in (
        ({"file": in_file(less[0])}, less[0]),
        ({"file": in_file(less[0]), **in_environment(less[1])}, less[1]),
    ):
        settings, result = started(**sources)
        assert settings is not None, result.output
        assert dataclasses.asdict(settings.limits) == expected
    settings, result = started(*as_options(less[2]), file=in_file(less[0]), **in_environment(less[1]))
    assert settings is not None, result.output
    assert dataclasses.asdict(settings.limits) == less[2]
    settings, _ = started()
    assert settings is not None
    assert settings.limits == Limits().admitting(ImageLimits())


def test_each_limit_is_won_by_its_own_source(started) -> None:
    settings, result = started(
        "--max-k", 7, file=in_file({"max_k": 5, "max_batch": 6, "max_names": 4}), LOOKALIKE_SERVE_MAX_BATCH="16"
    )
    assert settings is not None, result.output
    limits = settings.limits
    assert (limits.max_k, limits.max_batch, limits.max_names, limits.max_members) == (7, 16, 4, 100)


def test_all_else_can_be_set_as_well(started, tmp_path) -> None:
    settings, result = started(
        file="""
        port = 0
        fronts = 3
        grace = 3
        on_device_loss = "cpu"
        index = ["main", "tiny/fast"]
        reflection = false
        log_calls = true
        weights = "weights/net.pth"
        tokens = "/run/tokens"
        show_paths = "everyone"
        [limits]
        max_image_bytes = "3MiB"
        max_image_pixels = "2M"
        """
    )
    assert settings is not None, result.output
    listen = settings.listen
    assert (listen.port, settings.grace, settings.on_loss, settings.indexes) == (0, 3.0, "cpu", ("main", "tiny/fast"))
    assert (listen.reflection, settings.observe.log_calls, listen.show_paths) == (False, True, "everyone")
    assert settings.fronts == 3
    assert settings.weights == str(tmp_path / "weights" / "net.pth"), "relative to the file"
    assert listen.tokens == Path("/run/tokens")
    assert (settings.limits.max_image_bytes, settings.limits.max_image_pixels) == (3 * MIB, 2_000_000)
    settings, _ = started("--reflection", "--grace", 4, file="reflection = false\ngrace = 3", LOOKALIKE_SERVE_HTTP="8")
    assert settings is not None
    assert (settings.listen.reflection, settings.grace) == (True, 4.0)


MISTAKES = {
    "[limits]\nmax_kk = 5": r"limits\.max_kk is not a setting; write limits\.max_k instead\.",
    "max_k = 5": r"max_k is not a setting; write limits\.max_k instead\.",
    "[limits]\nport = 5": r"limits\.port is not a setting; write port instead\.",
    "[limits]\nmax-k = 5": r"limits\.max-k is not a setting; write limits\.max_k instead\.",
    "[strange]\nthing = 5": r"strange\.thing is not a setting; docs/configuration\.md lists all settings\.",
    "[limits]\nmax_k = 'ten'": r"limits\.max_k is 'ten'; it must be an integer\.",
    "[limits]\nmax_k = true": r"limits\.max_k is True; it must be an integer\.",
    "[limits]\nmax_k = 1.5": r"limits\.max_k is 1\.5; it must be an integer\.",
    "[limits]\nmax_k = 0": r"limits\.max_k: 0 is out of range; it must be 1 to 2047\.",
    "[limits]\nmax_k = 5000": r"limits\.max_k: 5000 is out of range; it must be 1 to 2047\.",
    "[limits]\nmax_text_bytes = 'much'": r"limits\.max_text_bytes: 'much' is not a size; write it like 500MB or 8GiB\.",
    "[limits]\nmax_message_bytes = '8MiB'": r"max_message_bytes is 8388608, and an image of max_image_bytes, "
    r"67108864, needs 68157440; set max_message_bytes to 68157440 or more, or max_image_bytes to 7340032 or less\.",
    "[limits]\nmin_thumbnail_side = 200": r"min_thumbnail_side, default_thumbnail_side and max_thumbnail_side are 200,",
    "limits = 5": r"limits is not a setting",
    "host = 5": r"host is 5; it must be a string\.",
    "fronts = 'many'": r"fronts is 'many'; it must be an integer or \"auto\"\.",
    "fronts = 0": r"fronts: 0 is not a number of processes; use 1 or more, or auto\.",
    "insecure = 'yes'": r"insecure is 'yes'; it must be true or false\.",
    "index = 'main'": r"index is 'main'; it must be a list of strings\.",
    "grace = 'long'": r"grace is 'long'; it must be a number\.",
    "placement = 'moon'": r"placement: 'moon' is not one of 'cpu', 'gpu', 'shard', 'replicate'\.",
    "config = 'other.toml'": r"config is not a setting",
    "port = ": r"is not TOML: Invalid value \(at end of document\)",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistake_in_the_file_is_reported_with_its_key(started, text) -> None:
    settings, result = started(file=text)
    assert settings is None
    assert result.exit_code == 2, result.output
    said = result.stderr.replace("\n", " ")
    assert re.search(rf"Error: (--config \S*server\.toml:? ?)?{MISTAKES[text]}", said), said
    assert "Traceback" not in said


@given(
    st.dictionaries(
        st.sampled_from([*settable(cli.serve), "limits", "connections.idle"]) | st.text(max_size=8),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(max_size=3)),
        max_size=4,
    )
)
def test_any_configuration_file_is_accepted_or_rejected_by_key(table) -> None:
    """At the seam behind TOML's own reader."""
    ctx = click.Context(cli.serve)
    with patch("lookalike_server.commands.configuration.tomllib.load", lambda file: table):
        said = ""
        values: dict[str, Any] = {}
        try:
            values = read_configuration(Path(__file__), settable(cli.serve), ctx)
        except UsageError as error:
            said = str(error)
    assert any(key in said for key in table) if said else len(values) == len(table)


def test_mistake_elsewhere_is_reported_with_its_place(started, tmp_path) -> None:
    for options, environment, said in (
        (
            (),
            {"LOOKALIKE_SERVE_MAX_K": "0"},
            "Invalid value for the environment's LOOKALIKE_SERVE_MAX_K: '0' is out of",
        ),
        (("--max-k", 0), {"LOOKALIKE_SERVE_MAX_K": "5"}, "Invalid value for '--max-k': '0' is out of range"),
        (("--config", tmp_path / "gone.toml"), {}, "gone.toml cannot be read: no such file or directory."),
        ((), {"LOOKALIKE_SERVE_CONFIG": str(tmp_path)}, "cannot be read: is a directory."),
    ):
        settings, result = started(*options, **environment)
        assert settings is None
        assert result.exit_code == 2
        assert said in result.stderr.replace("\n", " ")


def test_limits_from_a_program_are_checked() -> None:
    for name in FIELDS:
        with pytest.raises(UsageError, match=rf"--{name.replace('_', '-')} 0 is out of range; it must be \d+ to "):
            Limits(**{name: 0})
    assert chosen_limits({}, ImageLimits(4 << 30, 1000)).max_message_bytes == 2**31 - 1, "no message is longer"


def test_server_takes_its_settings_from_all_three(make_toy, tmp_path, monkeypatch) -> None:
    token, line = new_token("shop", "read")
    (tmp_path / "tokens").write_text(f"{line}\n")
    file = tmp_path / "server.toml"
    file.write_text(
        'collection = "pets"\nport = 0\ntokens = "tokens"\n[limits]\nmax_k = 5\nmax_nprobe = 6\nmax_batch = 9\n'
    )
    monkeypatch.setenv("LOOKALIKE_SERVE_CONFIG", str(file))
    monkeypatch.setenv("LOOKALIKE_SERVE_MAX_NPROBE", "16")
    monkeypatch.setenv("LOOKALIKE_SERVE_MAX_BATCH", "19")
    make_toy(name="pets")
    command = [sys.executable, "-m", "lookalike", "serve", "--max-batch", "29"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split(" on ")[1].split(": ")[0]
        with grpc.insecure_channel(address) as channel:
            stub = server_pb2_grpc.ServerServiceStub(channel)
            request = server_pb2.GetServerInfoRequest()
            metadata = (("authorization", f"Bearer {token}"),)
            limits = stub.GetServerInfo(request, timeout=60, metadata=metadata).limits
            assert (limits.max_k, limits.max_nprobe, limits.max_batch) == (5, 16, 29)
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetServerInfo(request, timeout=60)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    finally:
        process.kill()
        process.communicate()


def test_every_setting_is_documented() -> None:
    keys = set(settable(cli.serve))
    assert {f"limits.{name}" for name in FIELDS} < keys
    assert {one.key for one in cli.serve.params if isinstance(one, Setting)} - keys == {"config"}
    script = ROOT / "scripts" / "document_settings.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, f"run: python {script.relative_to(ROOT)}"
    documented = set(re.findall(r"^\| `([\w.]+)`", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE))
    assert documented == keys


def test_every_limit_has_a_description() -> None:
    assert [field.name for field in dataclasses.fields(Limits) if not field.metadata.get("what")] == []


def test_pipe_is_read_like_a_file(started, tmp_path):
    pipe = tmp_path / "settings"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("[limits]\nmax_k = 7\n",))
    writer.start()
    settings, result = started("--config", pipe)
    writer.join()
    assert settings is not None, result.output
    assert settings.limits.max_k == 7


def test_pipe_without_a_writer_is_rejected(started, tmp_path, monkeypatch):
    pipe = tmp_path / "settings"
    os.mkfifo(pipe)
    monkeypatch.setattr("lookalike_server.commands.configuration._WRITER_S", 0.1)
    settings, result = started("--config", pipe)
    assert settings is None
    assert result.exit_code == 2
    assert "settings is a pipe without a writer; give a file." in result.output
