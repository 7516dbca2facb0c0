"""HTML for notebooks: all text is escaped, styles are inline, and nothing is fetched or run.

Notebooks remove style sheets and scripts of untrusted pages. Colors are inherited from
the notebook, so that light and dark themes both work.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

MOST_ROWS = 20
_MOST_VALUES = 12

_BOX = "font-size:13px;line-height:1.4;max-width:100%;overflow-x:auto"
_FAINT = "opacity:.7"
_CELL = "padding:2px 8px;text-align:left;vertical-align:middle;white-space:nowrap"
_NUMBER = "padding:2px 8px;text-align:right;vertical-align:middle;font-variant-numeric:tabular-nums"
_TILES = "display:flex;flex-wrap:wrap;gap:8px;margin:6px 0"
_TILE = "margin:0;width:112px;font-size:11px;overflow-wrap:anywhere"
_NONE = "width:112px;height:72px;border:1px dashed currentColor;opacity:.4"


def text(value: object) -> str:
    """Format a value as escaped HTML; <bdi> isolates right-to-left names from the text around them."""
    return f"<bdi>{html.escape(plain(value))}</bdi>"


def plain(value: object) -> str:
    """Format a value for people: numbers with four digits, long lists shortened with their length."""
    if value is None:
        return "-"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"
    if isinstance(value, np.ndarray | list | tuple):
        shown = ", ".join(plain(each) for each in value[:_MOST_VALUES])
        return shown if len(value) <= _MOST_VALUES else f"{shown}, ... ({len(value)} in all)"
    return str(value)


def box(*parts: str) -> str:
    """Stack the parts that are not empty."""
    return f'<div style="{_BOX}">{"".join(parts)}</div>'


def heading(title: str, *, faint: str = "") -> str:
    more = f' <span style="{_FAINT}">{html.escape(faint)}</span>' if faint else ""
    return f'<div style="margin:4px 0"><b>{html.escape(title)}</b>{more}</div>'


def note(sentence: str) -> str:
    """Format a sentence in faint letters; "" for an empty one."""
    return f'<div style="{_FAINT};margin:2px 0">{html.escape(sentence)}</div>' if sentence else ""


def bullets(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f'<ul style="margin:4px 0 4px 20px;padding:0">{items}</ul>' if items else ""


def image(data: bytes, alt: str, *, kind: str = "jpeg", side: int = 112) -> str:
    encoded = base64.b64encode(data).decode()
    style = f"max-width:{side}px;max-height:{side}px;display:block"
    return f'<img src="data:image/{kind};base64,{encoded}" alt="{html.escape(alt)}" style="{style}">'


def tile(jpeg: bytes | None, key: str, *lines: str) -> str:
    """Format an image, or a placeholder, above its key and further lines."""
    picture = f'<div style="{_NONE}" title="no image"></div>' if jpeg is None else image(jpeg, key)
    caption = "".join(f"<div>{text(line)}</div>" for line in (key, *lines) if line)
    return f'<figure style="{_TILE}">{picture}<figcaption>{caption}</figcaption></figure>'


def tiles(each: Iterable[str]) -> str:
    inner = "".join(each)
    return f'<div style="{_TILES}">{inner}</div>' if inner else ""


def table(
    columns: Mapping[str, Any],
    rows: int,
    *,
    most: int = MOST_ROWS,
    pictures: Sequence[bytes | None] | None = None,
) -> str:
    """Format the first `most` rows and the number of rows left out; `pictures` are thumbnails before their rows."""
    shown = min(rows, most)
    names = list(columns)
    head = "".join(f'<th style="{_CELL}">{html.escape(name)}</th>' for name in names)
    head = f"<th></th>{head}" if pictures is not None else head
    body = []
    for row in range(shown):
        cells = "".join(_cell(columns[name][row]) for name in names)
        if pictures is not None:
            jpeg = pictures[row] if row < len(pictures) else None
            picture = "" if jpeg is None else image(jpeg, "", side=56)
            cells = f'<td style="{_CELL}">{picture}</td>{cells}'
        body.append(f"<tr>{cells}</tr>")
    more = note(f"... and {rows - shown:,} more rows; to_pandas() has them all.") if rows > shown else ""
    return (
        f'<table style="border-collapse:collapse;font-size:inherit"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>{more}"
    )


def folded(title: str, inner: str, *, is_open: bool) -> str:
    """Format a section that the reader can unfold."""
    return f"<details{' open' if is_open else ''}><summary>{html.escape(title)}</summary>{inner}</details>"


def _cell(value: object) -> str:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return f'<td style="{_NUMBER if number else _CELL}">{text(value)}</td>'
