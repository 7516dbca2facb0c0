"""Chapters about a set: near-duplicates, leaks between splits, wrong labels, poor images, a spread-out sample."""

from __future__ import annotations

from lookalike_indexer.collection.commands import command
from lookalike_indexer.errors import NotBuiltError
from lookalike_indexer.experiments.result import Result
from lookalike_indexer.report.chapter import Content
from lookalike_indexer.report.context import Context
from lookalike_indexer.report.inline import Picture

# Names of columns that indicate a split.
_SPLITS = ("split", "fold", "subset", "partition")
_LISTED = 30
# Four rows of the montage.
_SAMPLED = 48


def near_duplicates(context: Context) -> Content:
    from lookalike_indexer.charts.duplicates import duplicates_montage
    from lookalike_indexer.experiments.duplicates import duplicates

    result = context.stored_result("duplicates") or duplicates(context.view)
    tables = {
        "groups": ["group", "images", "exact", "by_hash", "farthest", "keep"],
        "images": ["group", "key", "width", "height", "keep", "exact", "by_hash", "distance"],
    }
    tables = _columns_of(result, tables)
    pictures: list[tuple[str, Picture]] = []
    if result.tables["groups"].num_rows:
        pictures.append(("Groups of duplicates, the largest first", duplicates_montage(result, context.thumbnails)))
    return Content(result, tables, pictures)


def leaked(context: Context) -> Content:
    """Show the stored result, or the leaks of the column with a split's name."""
    from lookalike_indexer.charts.leaks import leaks_montage
    from lookalike_indexer.experiments.leaks import leaks

    result = context.stored_result("leaks")
    if result is None:
        manifest = context.view.reader.manifest
        columns = {column.name for entry in manifest.attributes.values() for column in entry.columns}
        named = [name for name in _SPLITS if name in columns]
        if not named:
            again = command("leaks", context.view.reader.storage.root, "--split", "COLUMN", "--keep", "split")
            raise NotBuiltError(
                f"The collection {context.view.reader.name} has no attribute called {', '.join(_SPLITS[:-1])} or "
                f"{_SPLITS[-1]}; name the column that says the split with: {again}"
            )
        result = leaks(context.view, named[0])
    tables = {
        "splits": ["split", "images", "leaked", "share"],
        "leaks": ["rank", "distance", "exact", "by_hash", "split", "key", "other_split", "other_key"],
    }
    tables = _columns_of(result, tables)
    pictures: list[tuple[str, Picture]] = []
    if result.tables["leaks"].num_rows:
        pictures.append(("Images with near-duplicates in another split", leaks_montage(result, context.thumbnails)))
    return Content(result, tables, pictures)


def _columns_of(result: Result, tables: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the columns that a result has: results of earlier releases have no by_hash."""
    return {
        name: [each for each in columns if each in result.tables[name].column_names] for name, columns in tables.items()
    }


def wrong_labels(context: Context) -> Content:
    from lookalike_indexer.charts.label_issues import label_issues_sheet
    from lookalike_indexer.experiments.label_issues import label_issues

    result = context.stored_result("label_issues") or label_issues(context.view, limit=_LISTED)
    tables = {
        "issues": ["rank", "label", "suggested", "score", "label_probability", "suggested_probability", "key"],
        "labels": ["label", "images", "issues", "share"],
    }
    pictures: list[tuple[str, Picture]] = []
    if result.tables["issues"].num_rows:
        sheet = label_issues_sheet(result, context.thumbnails)
        pictures.append(("Images whose label is likely wrong, the likeliest first", sheet))
    return Content(result, tables, pictures)


def poor_pictures(context: Context) -> Content:
    from lookalike_indexer.charts.quality import quality_montage
    from lookalike_indexer.experiments.image_quality import image_quality

    result = context.stored_result("image_quality") or image_quality(context.view, limit=_LISTED)
    tables = {"flags": ["flag", "images", "share", "rule"], "images": ["flag", "rank", "value", "label", "key"]}
    pictures: list[tuple[str, Picture]] = []
    if result.tables["images"].num_rows:
        pictures.append(("The most extreme images of each flag", quality_montage(result, context.thumbnails)))
    return Content(result, tables, pictures)


def spread_out(context: Context) -> Content:
    from lookalike_indexer.charts.sample import sample_montage
    from lookalike_indexer.experiments.sample import spread_sample

    result = context.stored_result("sample")
    if result is None:
        # An empty space has its own error.
        rows = max(1, context.view.reader.space()[1].rows)
        result = spread_sample(context.view, min(_SAMPLED, rows), seed=context.asked.seed)
    montage = sample_montage(result, context.thumbnails)
    tables = {"images": ["rank", "distance", "label", "key"]}
    return Content(result, tables, [("The chosen images, each far from those before it", montage)])
