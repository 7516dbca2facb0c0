"""Generate the table of settings in docs/configuration.md from the options of `lookalike serve`.

python scripts/document_settings.py           write it
python scripts/document_settings.py --check   exit code 1 if the page is not up to date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lookalike_server.commands.cli import serve
from lookalike_server.commands.options import Settable, Setting, settable

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
_ARGUMENT = "The collection's folder, or several, each as DIR or NAME=DIR: the arguments of the command."
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"


def settings() -> list[Settable]:
    """Return all settings of the file, those without a table first."""
    return sorted(settable(serve).values(), key=lambda one: "." in one.key)


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| key | value | default | meaning |\n|---|---|---|---|\n"
    for one in settings():
        text = one.help or "" if isinstance(one, Setting) else _ARGUMENT
        meaning, _, told = text.partition("  [default: ")
        default = _told(told.removesuffix("]")) if told else _default(one)
        yield f"| `{one.key}` | {_value(one)} | {default} | {meaning} |\n"


def _told(default: str) -> str:
    """Format a default from the help text: words as they are, a value as code."""
    return default if " " in default else f"`{default}`"


def _default(one: Settable) -> str:
    default = one.get_default(click.Context(serve), call=False)
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if isinstance(default, (str, int, float)) and default != "" else ""


def _value(one: Settable) -> str:
    if isinstance(one.type, click.Choice):
        return ", ".join(f'`"{choice}"`' for choice in one.type.choices)
    if one.nargs == -1:
        return "folder or list of them"
    if one.multiple:
        return "list of texts"
    if one.is_flag:
        return "`true`, `false`"
    kinds = {"integer": "whole number", "float": "number", "size": "bytes or a size", "pixels": "pixels or a count"}
    kinds["fronts"] = 'whole number, `"auto"`'
    return kinds.get(one.type.name, "file" if isinstance(one.type, click.Path) else "text")


def written(page: str) -> str:
    """Return a page with the current table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{''.join(table())}{END}{after}"


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    wanted = written(page)
    if "--check" in sys.argv[1:]:
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
