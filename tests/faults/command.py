"""Command line of the fault harness. Exits with 1 if a promise was broken."""

from __future__ import annotations

import argparse
import collections
import json
import math
import shutil
import time

import click

# Also everything that the commands import: once, for all children.
import pandas  # noqa: F401
import sklearn.cluster  # noqa: F401
import torch
from PIL import Image
from tests.faults import at_server, changes, kinds
from tests.faults.harness import Harness, Trial, trials, working_folder
from tests.faults.scenarios import decoding_inline

import lookalike_indexer.cli.progress
import lookalike_indexer.clustering.cluster_stage
import lookalike_indexer.devices
import lookalike_indexer.embedding.embed_stage
import lookalike_indexer.experiments.stored_results
import lookalike_indexer.indexing.build_stage

_KINDS = (*kinds.KINDS, changes.KIND)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Inject faults and tell what became of the collections."
    )
    parser.add_argument("--count", type=int, default=500, help="faults to inject")
    parser.add_argument("--seed", type=int, default=1, help="decides all that is random")
    parser.add_argument("--scenario", action="append", help="only these commands")
    parser.add_argument(
        "--kind", action="append", choices=(*_KINDS, *at_server.KINDS), help="only these kinds of fault"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    at_servers = [kind for kind in arguments.kind or () if kind in at_server.KINDS]
    if at_servers:
        if len(at_servers) < len(arguments.kind):
            parser.error(f"those at a server are run apart: {', '.join(at_server.KINDS)}")
        return at_server.bring_about(at_servers, arguments.count, arguments.seed)
    torch.set_num_threads(1)
    # Further output of a command would depend on the machine's load.
    lookalike_indexer.cli.progress.INTERVAL_S = math.inf
    Image.init()
    work = working_folder()
    began = time.monotonic()
    try:
        with decoding_inline():
            harness = Harness(work)
            if not harness.can_mount:
                click.echo(f"not root: no disks of its own, so none of: {', '.join(kinds.NEEDS_ROOT)}", err=True)
            done = trials(
                harness,
                arguments.count,
                arguments.seed,
                _told,
                arguments.scenario or harness.names,
                arguments.kind or list(_KINDS),
            )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    figures = _figures(done, time.monotonic() - began)
    click.echo(json.dumps(figures) if arguments.json else _table(figures))
    return 1 if figures["broken"] else 0


def _told(number: int, trial: Trial) -> None:
    told = f"{number}: {trial.scenario}, {trial.kind}, {trial.where}: exit {trial.code}"
    if trial.problems:
        click.echo(f"BROKEN {told}: {'; '.join(trial.problems)}\n  it said: {trial.said}", err=True)
    elif number % 50 == 0:
        click.echo(told, err=True)


def _figures(done: list[Trial], seconds: float) -> dict[str, object]:
    by_kind = collections.defaultdict(list)
    for trial in done:
        by_kind[trial.kind].append(trial)
    return {
        "faults": len(done),
        "broken": sum(bool(trial.problems) for trial in done),
        "killed": sum(trial.code == -9 for trial in done),
        "refused": sum(trial.code == 1 for trial in done),
        "absorbed": sum(trial.code == 0 for trial in done),
        "published": sum(trial.published for trial in done),
        "seconds": round(seconds),
        "scenarios": dict(collections.Counter(trial.scenario for trial in done)),
        "kinds": {
            kind: {
                "faults": len(of_it),
                "killed": sum(trial.code == -9 for trial in of_it),
                "refused": sum(trial.code == 1 for trial in of_it),
                "absorbed": sum(trial.code == 0 for trial in of_it),
            }
            for kind, of_it in sorted(by_kind.items())
        },
        "sentences": dict(collections.Counter(_shape(trial.said) for trial in done if trial.code == 1).most_common()),
    }


def _shape(sentence: str) -> str:
    """Return a sentence without its path, so that equal sentences can be counted."""
    return " ".join("PATH" if "/" in word else word for word in sentence.split())


def _table(figures: dict[str, object]) -> str:
    lines = [f"{name}: {value}" for name, value in figures.items() if not isinstance(value, dict)]
    for name, value in figures.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {key}: {inner}" for key, inner in value.items()]
    return "\n".join(lines)
