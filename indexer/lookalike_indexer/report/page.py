"""Conversion of chapters to one HTML file: no script, no external resources, enforced by a content security policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined

from lookalike_indexer.report.chapter import Chapter


def page(name: str, lead: str, facts: Mapping[str, str], chapters: Sequence[Chapter]) -> str:
    """Return the page of a collection; every text in it is escaped."""
    folder = resources.files("lookalike_indexer.report")
    # The policy permits only this style, by its digest.
    style = (folder / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((folder / "page.html.j2").read_text("utf-8"))
    return template.render(
        name=name, lead=lead, facts=facts, chapters=chapters, style=style, style_hash=f"sha256-{digest}"
    )
