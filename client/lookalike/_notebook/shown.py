"""HTML fragments that results share in a notebook: image strips and the footer."""

from __future__ import annotations

from collections.abc import Sequence

from lookalike._notebook import html
from lookalike._notebook.thumbnails import MOST_PICTURES, Gallery
from lookalike._served import Served


def foot(served: Served | None, gallery: Gallery | None = None) -> str:
    """Format the footer: collection and generation, notes about the reply, and the reason for missing thumbnails."""
    parts = []
    if served is not None:
        if not served.pretrained:
            parts.append("The network is UNTRAINED: neighbors mean nothing beyond color and texture.")
        parts.extend(served.notes)
        of = f", space {served.space}" if served.space else ""
        parts.append(f"{served.collection}, generation {served.generation}{of}")
    if gallery is not None and gallery.problem:
        parts.append(gallery.problem)
    return "".join(map(html.note, parts))


def strip(
    gallery: Gallery,
    ids: Sequence[int],
    keys: Sequence[str],
    lines: Sequence[Sequence[str]],
    most: int = MOST_PICTURES,
) -> str:
    """Format images as tiles with their key and lines, and the number of images left out."""
    shown = min(len(keys), most)
    each = (html.tile(gallery.jpegs.get(int(ids[row])), keys[row], *lines[row]) for row in range(shown))
    left = len(keys) - shown
    more = f"... and {left:,} more; a slice shows others, such as [{shown}:]." if left else ""
    return html.tiles(each) + html.note(more)
