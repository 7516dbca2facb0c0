"""Report of a collection: every chapter that can be made, and the reasons for missing ones."""

from __future__ import annotations

from lookalike_indexer.experiments.view import View
from lookalike_indexer.progress import Progress, Silent
from lookalike_indexer.report.chapter import Chapter, chapter
from lookalike_indexer.report.context import Context, Examples
from lookalike_indexer.report.page import page
from lookalike_indexer.report.plans import PLANS


def make_report(
    view: View, asked: Examples | None = None, progress: Progress | None = None
) -> tuple[str, list[Chapter]]:
    """Return the page as HTML, and its chapters. Raise NotFoundError if the requested image or label does not exist."""
    context = Context(view, asked or Examples())
    context.check()
    chapters = []
    with (progress or Silent()).stage("report", len(PLANS), "chapters") as bar:
        for plan in PLANS:
            chapters.append(chapter(plan, context))
            bar.advance(1)
    return page(view.reader.name, _lead(view), _facts(view), chapters), chapters


def _lead(view: View) -> str:
    manifest = view.reader.manifest
    weak = [name for name, model in manifest.models.items() if not model.spec.weights.pretrained]
    untrained = f" Untrained, so that its neighbors mean little: {', '.join(weak)}." if weak else ""
    return f"Generation {manifest.generation} of the collection, from {manifest.source.uri}.{untrained}"


def _facts(view: View) -> dict[str, str]:
    manifest = view.reader.manifest
    return {
        "images": f"{len(view):,}",
        "labels": f"{len(view.label_names):,}",
        "models": f"{len(manifest.models):,}",
        "spaces": f"{len(manifest.spaces):,}",
        "clusterings": f"{len(manifest.clusterings):,}",
        "default space": manifest.default_space,
    }
