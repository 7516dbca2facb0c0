"""Analyses on a server: `lookalike matrix --server`; tests/e2e compares them with those of a folder."""

import csv
import io
import json
import socket

import click
import pytest

from lookalike.cli import _commands
from lookalike.cli._catalog import SERVED
from lookalike.cli._served_analyses import COMMANDS_BY_NAME


def table_names(command):
    [option] = [param for param in command.params if "--csv" in param.opts]
    return list(option.type.choices)


def options(command):
    return {name for param in command.params if isinstance(param, click.Option) for name in param.opts}


def test_findings_figures_and_tables_are_shown(cli, toy):
    code, out, err = cli("matrix", "--server", toy.address, "--rows", "1")
    assert (code, err) == (0, "")
    assert "Every label has a cluster of its own." in out
    assert "purity" in out
    assert "counts, 2 rows:" in out
    assert "... and 1 more; --rows and --json show them." in out


def test_json_has_what_a_folder_has(cli, toy):
    code, out, _ = cli("analyze", "matrix", f"--server={toy.address}", "--json")
    found = json.loads(out)
    assert code == 0
    assert list(found) == ["kind", "settings", "figures", "findings", "tables"]
    assert [row["label"] for row in found["tables"]["counts"]] == ["dogs", "cats"]


def test_csv_is_one_table(cli, toy):
    code, out, _ = cli("matrix", "--server", toy.address, "--csv", "counts")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["label"] for row in rows] == ["dogs", "cats"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--csv", "counts", "--json"], "Use --json or --csv, not both."),
        (["--csv", "numbers"], "'numbers' is not one of 'counts', 'labels', 'clusters', 'secondary'"),
        (["--csv", "labels"], "The result has no table 'labels'; it has counts."),
        (["--out", "x"], "--out is no option of matrix with --server."),
        (["--keep", "x"], "To analyze a folder, use: lookalike matrix -c DIR."),
        (["pictures"], "To analyze a folder, use: lookalike matrix -c DIR."),
    ],
)
def test_invalid_arguments_are_reported_in_one_sentence(cli, toy, given, told):
    code, out, err = cli("matrix", "--server", toy.address, *given)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize("content", ["name,class\nred,1\n", None])
def test_invalid_class_map_is_rejected_before_the_call(cli, toy, tmp_path, content):
    file = tmp_path / "map.csv"
    if content is not None:
        file.write_text(content)
    code, _, err = cli("classes", "--server", toy.address, "--class-map", str(file))
    assert code == 2
    assert f"--class-map {file}" in err


@pytest.mark.parametrize("name", SERVED)
def test_both_forms_have_the_same_tables_and_shared_options(name):
    pytest.importorskip("torch")
    folder = _commands.commands.get_command(click.Context(_commands.commands), name)
    served = COMMANDS_BY_NAME[name]
    assert table_names(folder) == table_names(served)
    shared = options(served) - {"--server", "--tls", "--ca", "--tls-cert", "--tls-key", "--token-file", "--insecure"}
    assert shared - {"--collection-name", "--rows", "--timeout"} <= options(folder)
    assert f"lookalike {name} --server" in folder.epilog


def test_machine_with_the_client_alone_lists_and_runs_them(cli, toy, monkeypatch):
    monkeypatch.setattr(_commands, "_can_run", lambda entry: entry.module.startswith("lookalike.cli"))
    assert "matrix" in cli("analyze", "--help")[1]
    assert cli("matrix", "--server", toy.address)[0] == 0


@pytest.mark.parametrize("command", [["matrix"], ["search", "dogs/01.jpg"]])
def test_silent_server_fails_after_the_timeout(cli, command):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        code, _, err = cli(*command, "--server", address, "--timeout", "0.3")
    assert code == 1
    assert err == f"Error: {address} did not answer within 0.3 s; allow more by --timeout.\n"


def test_server_chooses_k_for_auto(cli, toy):
    assert cli("split", "dogs", "--server", toy.address, "-k", "auto")[0] == 0
    assert cli("split", "dogs", "--server", toy.address, "-k", "3")[0] == 0
    assert [(call.label, call.k) for call in toy.requests[-2:]] == [("dogs", 0), ("dogs", 3)]
    code, _, err = cli("split", "dogs", "--server", toy.address, "-k", "1")
    assert code == 2
    assert "1 is not in the range x>=2" in err
