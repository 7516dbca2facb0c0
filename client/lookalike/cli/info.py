"""`lookalike info`: describe a collection, in a folder or on a server.

Both return the dict of `dataclasses.asdict(lookalike.Collection)`; a function of the
entry point group "lookalike.describe" builds it for a folder.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click

from lookalike.cli._collection_folder import collection_option
from lookalike.cli._options import DEFAULT_SERVER, json_option, open_client, server_options
from lookalike.cli._text import UNTRAINED, printable, table, to_json

DESCRIBE: Final = "lookalike.describe"
# The layer of spaces that `lookalike import` makes.
_IMPORTED: Final = "imported"
# Longer examples of floats are rounded.
_SHORT: Final = 7
# HOST:PORT, as --server accepts it.
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}")


@click.command(short_help="Describe a collection: a folder's or a server's.")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path())
@collection_option
@server_options(default=None)
@json_option
@click.pass_context
def info(
    ctx: click.Context,
    folder: str | None,
    collection: str | None,
    server: str | None,
    tls: bool,
    ca: str | None,
    as_json: bool,
) -> None:
    """Describe the collection in DIR, or on a server (127.0.0.1:50051 by default)."""
    given = ctx.get_parameter_source("server")
    typed = ctx.get_parameter_source("collection") is click.core.ParameterSource.COMMANDLINE
    if folder is None and (typed or given is not click.core.ParameterSource.COMMANDLINE):
        folder = collection
    if folder is not None and _ADDRESS.fullmatch(folder) and not Path(folder).exists():
        raise click.UsageError(f"{folder} is the address of a server; write --server {folder}.")
    if folder is not None and given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(
            "Name a folder or a --server, not both; --collection-name names a collection of a server."
        )
    described = _of_server(server or DEFAULT_SERVER, tls, ca) if folder is None else _of_folder(folder)
    click.echo(to_json(described) if as_json else _as_text(described))


def _of_server(address: str, tls: bool, ca: str | None) -> dict[str, Any]:
    with open_client(address, tls, ca) as client:
        collection, server = client.info(), client.server_info()
    told = dataclasses.asdict(server)
    # JSON has no type for times.
    told["last_fold"] = None if server.last_fold is None else server.last_fold.isoformat(timespec="seconds")
    return {**dataclasses.asdict(collection), "server": {"address": address, **told}}


def _of_folder(folder: str) -> dict[str, Any]:
    for entry in metadata.entry_points(group=DESCRIBE):
        try:
            described: dict[str, Any] = entry.load()(folder)
        except ImportError as error:
            raise click.ClickException(
                f"Describing a folder needs {error.name}, which is not installed here: pip install 'lookalike[indexer]'"
            ) from error
        return described
    raise click.ClickException("Describing a folder needs the indexer: pip install 'lookalike[indexer]'")


def _as_text(described: dict[str, Any]) -> str:
    rejects = f"; files that could not be read: {described['rejects']}" if described["rejects"] else ""
    deleted = f" (and {described['deleted']} deleted)" if described["deleted"] else ""
    parts = [
        f"{printable(described['name'])}, generation {described['generation']}: "
        f"images {described['images']}{deleted}, labels {described['labels']}{rejects}",
        "",
        _spaces(described),
    ]
    if described["clusterings"]:
        parts += ["", _clusterings(described)]
    if described.get("attributes"):
        parts += ["", _attributes(described)]
    if not all(space["pretrained"] for space in described["spaces"]):
        parts += ["", UNTRAINED]
    if "server" in described:
        parts += ["", _server(described["server"])]
    return "\n".join(parts)


def _spaces(described: dict[str, Any]) -> str:
    rows = [
        (
            space["name"] + (" (default)" if space["name"] == described["default_space"] else ""),
            _network(space),
            space["weights"],
            space["dim"],
            space["images"],
            _index(space["index"], space["indexes"]),
        )
        for space in described["spaces"]
    ]
    return table(("space", "network, layer, pooling", "weights", "dim", "images", "index"), rows)


def _network(space: dict[str, Any]) -> str:
    """Return the origin of a space's embeddings; imported vectors have neither network nor pooling."""
    if space["layer"] == _IMPORTED:
        return "imported vectors"
    return f"{space['model']}, {space['layer']}, {space['pooling']}"


def _index(index: dict[str, Any] | None, indexes: Sequence[dict[str, Any]]) -> str:
    if index is None:
        return "none"
    told = [index["name"]] if index["name"] else []
    told.append(index["metric"])
    if index["nlist"]:
        told.append(f"nprobe {index['default_nprobe']}")
        default = (index["default_nprobe"], 10)
        told += [f"recall@10 {p['recall']:.3g}" for p in index["recall"] if (p["nprobe"], p.get("k", 10)) == default]
    if index["missing"]:
        told.append(
            f"lacks {index['missing']} of {index['images'] + index['missing']} images; lookalike build adds them"
        )
    others = [each["name"] for each in indexes if each["name"] != index["name"]]
    also = f"; also {', '.join(others)}" if others else ""
    return f"{index['factory']} ({', '.join(told)}){also}"


def _clusterings(described: dict[str, Any]) -> str:
    current = {space["default_clustering"] for space in described["spaces"]}
    rows = [
        (
            each["name"] + (" (default)" if each["name"] in current else ""),
            each["k"],
            f"{each['images']} of {each['images'] + each['missing']}" if each["missing"] else each["images"],
            float(each["inertia"]),
            each["strategy"],
        )
        for each in described["clusterings"]
    ]
    return table(("clustering", "k", "images", "inertia", "strategy"), rows)


def _attributes(described: dict[str, Any]) -> str:
    rows = [
        (each["name"], each["type"], each["count"], ", ".join(_examples(each)), each["table"])
        for each in described["attributes"]
    ]
    return table(("attribute", "type", "images", "examples", "table"), rows)


def _examples(attribute: dict[str, Any]) -> list[str]:
    """Return the examples of an attribute, long floats with four digits."""
    if attribute["type"] != "float64":
        return list(attribute["examples"])
    return [text if len(text) <= _SHORT else f"{float(text):.4g}" for text in attribute["examples"]]


def _server(server: dict[str, Any]) -> str:
    limits = server["limits"]
    changes = ""
    if server["sequence"] or server["writable"]:
        folded = f", last folded {server['last_fold']}" if server["last_fold"] else ""
        taken = "taken" if server["writable"] else "followed"
        changes = (
            f"\nchanges {taken}, {server['sequence']} so far: {server['live_rows']} images added and "
            f"{server['deleted_rows']} deleted since the generation{folded}"
        )
    if server["update_problem"]:
        changes += f"\nno changes now: {printable(server['update_problem'])}"
    verified = ""
    if server["damage"]:
        verified = f"\ndamaged: {printable(server['damage'])}"
    elif server["verified_files"] < server["files"]:
        verified = f"\nverified so far: {server['verified_files']} of {server['files']} files"
    pictures = "" if server["image_queries"] else f"\nno queries by image: {printable(server['image_query_problem'])}"
    return (
        f"server {server['address']}: version {server['version']}, placement {server['placement']} "
        f"on {', '.join(server['devices'])}, search threads {server['search_threads']}\n"
        f"limits: {limits['max_batch']} queries a call, k {limits['max_k']}, nprobe {limits['max_nprobe']}, "
        f"images of {limits['max_image_bytes'] / 1e6:.3g} MB{pictures}{changes}{verified}"
    )
