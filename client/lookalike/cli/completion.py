"""`lookalike completion`: print a script for shell completion of commands and options."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Final

import click
from click.shell_completion import get_completion_class

_INSTALL: Final = {
    "bash": 'eval "$(lookalike completion bash)"     # in ~/.bashrc',
    "zsh": 'eval "$(lookalike completion zsh)"     # in ~/.zshrc, after compinit',
    "fish": "lookalike completion fish > ~/.config/fish/completions/lookalike.fish",
}


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", required=False, type=click.Choice(list(_INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print the completion script of a shell ($SHELL by default), with instructions to install it."""
    if shell is None:
        shell = PurePath(os.environ.get("SHELL", "")).name
        if shell not in _INSTALL:
            raise click.UsageError(f"Name the shell: {', '.join(_INSTALL)}.")
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"This version of click cannot complete in {shell}.")
    script = kind(ctx.find_root().command, {}, "lookalike", "_LOOKALIKE_COMPLETE").source()
    # At the end, because zsh needs its own mark in the first line.
    click.echo(f"{script.strip()}\n\n# To install it:\n#     {_INSTALL[shell]}")
