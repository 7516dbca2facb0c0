"""`--ray`: the machines of a cluster, for the commands that can use them."""

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
    help="Embed images and assign them to clusters on the machines of this Ray cluster, auto for the one that this "
    "machine belongs to. Images and collection must be in a folder that all machines share, or on an object store.",
)


def joined_machines(ray: str | None, options: Mapping[str, Any]) -> Machines | None:
    """The machines of the cluster that --ray names, which the command leaves when it ends; None without --ray.

    UsageError: an option of the command chooses among this machine's GPUs. Errors besides: see `machines`.
    """
    if ray is None:
        return None
    if options.get("gpus"):
        raise UsageError("--gpus names GPUs of this machine, and --ray uses all of the cluster; leave one of them out.")
    from lookalike_indexer.machines.machines import machines

    return click.get_current_context().with_resource(machines(ray))
