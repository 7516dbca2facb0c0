"""The collection is named by an option, the first argument, or the environment, alike in all commands."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option


@click.command(cls=CollectionCommand)
@collection_option
@click.argument("table")
@click.option("--out", "-o", default="")
@click.option("--both", is_flag=True)
@click.option("--pair", nargs=2)
def command(collection: str, table: str, out: str, both: bool, pair: tuple[str, str] | None) -> None:
    """A command with an argument of its own."""
    click.echo(f"{collection} {table} {out} {both} {pair}")


def run(*arguments: str, environment: str = "") -> str:
    done = CliRunner().invoke(command, arguments, env={"LOOKALIKE_COLLECTION": environment})
    assert done.exit_code == 0, done.output
    return done.output.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "DIR", "t.csv", "--out", "x"),
        ("--collection", "DIR", "t.csv", "--out=x"),
        ("--collection=DIR", "--out", "x", "t.csv"),
        ("-cDIR", "-ox", "t.csv"),
        ("DIR", "t.csv", "--out", "x"),
        ("--out", "x", "DIR", "t.csv"),
        ("-o", "x", "DIR", "--", "t.csv"),
        ("DIR", "-ox", "t.csv"),
    ],
)
def test_every_way_to_name_the_collection_means_the_same(arguments):
    assert run(*arguments) == "DIR t.csv x False None"
    # The command line overrides the environment.
    assert run(*arguments, environment="OTHER") == "DIR t.csv x False None"


def test_environment_names_the_collection_where_nothing_else_does():
    assert run("t.csv", "--both", environment="DIR") == "DIR t.csv  True None"


def test_values_of_options_are_no_arguments():
    assert run("--pair", "a", "b", "DIR", "--both", "t.csv") == "DIR t.csv  True ('a', 'b')"
    assert run("-c", "DIR", "--", "-t.csv") == "DIR -t.csv  False None"


def test_missing_collection_argument_lists_every_option():
    done = CliRunner().invoke(command, ["t.csv"])
    assert done.exit_code == 2
    assert (
        "Give the collection as the first argument, by -c/--collection DIR, or by LOOKALIKE_COLLECTION." in done.output
    )


def test_too_many_arguments_are_rejected():
    done = CliRunner().invoke(command, ["DIR", "t.csv", "more"])
    assert done.exit_code == 2
    assert "unexpected extra argument (more)" in done.output


def test_usage_shows_the_first_argument():
    assert "Usage: command [OPTIONS] [DIR] TABLE" in CliRunner().invoke(command, ["--help"]).output


def test_every_command_accepts_the_collection_in_the_same_ways():
    from importlib import metadata

    seen = 0
    for entry in metadata.entry_points(group="lookalike.commands"):
        if entry.module.startswith("lookalike_indexer"):
            loaded = entry.load()
            named = [one for one in loaded.params if one.name == "collection"]
            if entry.name == "doctor":
                continue
            assert [one.opts for one in named] == [["-c", "--collection"]], entry.name
            assert [one.envvar for one in named] == ["LOOKALIKE_COLLECTION"], entry.name
            own = entry.name in {"index", "embed", "import", "show", "explain", "watch"}
            assert own or isinstance(loaded, CollectionCommand), entry.name
            seen += 1
    assert seen > 30
