"""`lookalike doctor`: report which GPUs, weights and libraries exist, and what that means."""

from __future__ import annotations

import dataclasses
import json

import click

from lookalike_indexer.cli.errors import reported


@click.command()
@click.argument("location", required=False, metavar="[URL]")
@click.option("--model", default="resnet152", show_default=True, help="Look for the weights of this model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def doctor(location: str | None, model: str, as_json: bool) -> None:
    """Show the GPUs, weights and libraries of this machine, and what they are used for.

    With a URL such as s3://bucket/collection, check whether that object store can
    do what a collection needs. Exits with 1 if something needs repair.
    """
    from lookalike_indexer.diagnosis import examine, examine_store

    findings = examine_store(location) if location else examine(model)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            mark = click.style("ok " if finding.ok else "!! ", fg="green" if finding.ok else "red")
            meaning = f" - {finding.meaning}" if finding.meaning else ""
            click.echo(f"{mark}{finding.topic:<{width}}  {finding.found}{meaning}")
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(1)
