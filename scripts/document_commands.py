"""Generate the reference of the command line from the commands.

python scripts/document_commands.py     print it as Markdown
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from lookalike.cli._catalog import ANALYSES, SECTIONS
from lookalike.cli._commands import commands


def page() -> str:
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Command line\n"
    yield "Every command has `--help`. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."
    yield "`LOOKALIKE_DEBUG=1` shows the traceback of a failure.\n"
    for title, names in SECTIONS.items():
        for name in names:
            if name == "analyze":
                for analysis in ANALYSES:
                    yield from _command(f"analyze {analysis}", analysis, title)
            elif name != "bench":  # no command of the wheel
                yield from _command(name, name, title)


def _command(spelled: str, name: str, section: str) -> Iterator[str]:
    command = commands.get_command(click.Context(commands), name)
    if command is None:
        raise SystemExit(f"lookalike {name}: no such command")
    context = click.Context(command, info_name=f"lookalike {spelled}")
    yield f"## lookalike {spelled}\n"
    yield f"*{section}*\n"
    yield f"    {command.get_usage(context).removeprefix('Usage: ')}\n"
    yield _paragraphs(command.help or "")
    rows = [one for one in (parameter.get_help_record(context) for parameter in command.params) if one]
    if rows:
        yield "| option | meaning |\n|---|---|"
        for names, meaning in rows:
            yield f"| `{names}` | {_cell(meaning)} |"
        yield ""


def _paragraphs(text: str) -> str:
    """Return the help text as Markdown. Click keeps the line breaks of a paragraph that begins with \\b."""
    told = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b"):
            told.append("\n".join(f"    {line}" for line in paragraph.splitlines()[1:]))
        else:
            told.append(_escaped(" ".join(paragraph.split())))
    return "\n\n".join(told) + "\n"


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _escaped(text: str) -> str:
    for sign in "*[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
