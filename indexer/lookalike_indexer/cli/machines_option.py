"""The option --ray: the machines of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from lookalike_indexer.errors import UsageError

if TYPE_CHECKING:
    from lookalike_indexer.machines.machines import Machines

ray_option = click.option(
    "--ray",
    "ray",
    default=None,
    metavar="auto|HOST:PORT",
    help="Embed and cluster images on the machines of this Ray cluster, auto for the one that this "
    "machine belongs to. Images and collection must be in a folder that all machines share, or on an object store.",
)


def joined_machines(ray: str | None, options: Mapping[str, Any]) -> Machines | None:
    """Return the machines of the cluster that --ray names, None without --ray. The command leaves it when it ends.

    Raise UsageError if an option selects GPUs of this machine, and the errors of `machines`.
    """
    if ray is None:
        return None
    if options.get("gpus"):
        raise UsageError(
            "--gpus names GPUs of this machine, and --ray uses all GPUs of the cluster; leave one of them out."
        )
    from lookalike_indexer.machines.machines import machines

    return click.get_current_context().with_resource(machines(ray))
