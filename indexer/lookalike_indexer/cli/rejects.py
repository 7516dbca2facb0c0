"""`lookalike rejects`: list the images that could not be embedded, and the omissions from the source."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from lookalike_indexer.cli.collection_command import CollectionCommand, collection_option
from lookalike_indexer.cli.errors import reported
from lookalike_indexer.errors import IndexerError

_COLUMNS = ["model", "id", "key", "kind", "reason", "tried_again", "uri"]
_SHOWN = 20


@click.command(cls=CollectionCommand)
@collection_option
@click.option("--model", default="", metavar="NAME", help="Only the rejects of this model.  [default: of all models]")
@click.option("--kind", default="", metavar="KIND", help="Only this kind, such as missing, timeout or damaged.")
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False), help="Write all of them to this CSV file.")
@click.option("--json", "as_json", is_flag=True, help="Print all of them as JSON.")
@reported
def rejects(collection: str, model: str, kind: str, csv_path: str | None, as_json: bool) -> None:
    """List the images of the collection in DIR that could not be embedded, with the reasons.

    Damaged files are tried again when they change; all other kinds are tried again by the next run.
    """
    from lookalike_indexer.collection.reader import CollectionReader
    from lookalike_indexer.collection.rejects import KINDS
    from lookalike_indexer.errors import UsageError

    if kind and kind not in KINDS:
        raise UsageError(f"There is no kind of reject {kind!r}; the kinds are {', '.join(KINDS)}.")
    reader = CollectionReader.open(collection)
    rows = [row for row in rejected(reader, model) if kind in ("", row["kind"])]
    counts = Counter(row["kind"] for row in rows)
    if csv_path:
        _write_csv(Path(csv_path), rows)
    if as_json:
        found = {"counts": dict(sorted(counts.items())), "left_out": reader.manifest.left_out, "rejects": rows}
        click.echo(json.dumps({"generation": reader.manifest.generation, **found}))
        return
    click.echo("\n".join(_lines(reader.manifest.left_out, counts, rows)))
    if csv_path:
        click.echo(f"All {len(rows):,} are in {csv_path}.")


def rejected(reader: Any, model: str = "") -> list[dict[str, Any]]:
    """Return the rejects of a generation as rows, by model and id. Raise NotFoundError if the model does not exist."""
    from lookalike_indexer.collection.rejects import FINAL, kind_of

    names = [model] if model else sorted(reader.manifest.models)
    found = []
    for name in names:
        reader.model(name)
        for row in sorted(reader.rejects(name).to_pylist(), key=lambda row: row["id"]):
            kind = kind_of(row["kind"], row["reason"])
            row |= {"model": name, "kind": kind, "tried_again": kind != FINAL}
            found.append({column: row[column] for column in _COLUMNS})
    return found


def _lines(left_out: dict[str, int], counts: Counter[str], rows: list[dict[str, Any]]) -> list[str]:
    from lookalike_indexer.text import printable

    lines = [
        f"{len(rows):,} image{' was' if len(rows) == 1 else 's were'} rejected." if rows else "No image was rejected."
    ]
    lines += [f"  {count:,} {kind}" for kind, count in sorted(counts.items())]
    lines += [f"{printable(row['key'])} ({row['model']}, {row['kind']}): {row['reason']}" for row in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        lines.append(f"... and {len(rows) - _SHOWN:,} more; --csv FILE or --json gives all of them.")
    if left_out:
        lines.append("Left out of the source:")
        lines += [f"  {count:,} {reason}" for reason, count in sorted(left_out.items())]
    return lines


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise IndexerError(f"{path} cannot be written: {error.strerror}.") from error
