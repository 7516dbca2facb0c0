"""Stored results of the collection, as messages."""

from __future__ import annotations

import dataclasses

from lookalike.v1 import experiment_pb2
from lookalike_indexer.collection.manifest import ResultEntry
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_indexer.errors import NotFoundError
from lookalike_indexer.experiments import stored_results
from lookalike_indexer.experiments.result import Result
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.processes import result_encoding as tables
from lookalike_server.services.pagination import Page, Pager


def listed(reader: CollectionReader) -> list[experiment_pb2.StoredResult]:
    """Return all results by name, without their rows."""
    return [
        experiment_pb2.StoredResult(
            name=name,
            result=tables.encoded(Result(entry.kind, entry.settings, {}, entry.figures, tuple(entry.findings))),
            tables=[
                experiment_pb2.TableLength(name=table, rows=_rows(reader, path)) for table, path in entry.tables.items()
            ],
            out_of_date=stored_results.out_of_date(reader.manifest, name),
        )
        for name, entry in sorted(reader.manifest.results.items())
    ]


def page(
    reader: CollectionReader, request: experiment_pb2.GetResultRequest, limits: Limits
) -> experiment_pb2.GetResultResponse:
    """Return a page of one result: the same range of rows of each of its tables.

    Reads from the disk, so do not call it on the event loop. Raises NotFoundError if the result or
    table does not exist, and ArgumentError if the size or token is invalid. Raises MismatchError if
    the token is of another generation.
    """
    entry = stored_results.entry(reader, request.name)
    wanted = _requested_tables(request, entry)
    if not 0 <= request.page_size <= limits.max_table_rows:
        raise ArgumentError("page_size", f"page_size is {request.page_size}; it must be 0 to {limits.max_table_rows}.")
    # Rows of a table differ in size from images of a listing, which has shorter pages.
    bounds = dataclasses.replace(limits, max_page_size=limits.max_table_rows, default_page_size=limits.max_table_rows)
    total = max((_rows(reader, entry.tables[table]) for table in wanted), default=0)
    pager = Pager(reader.manifest.generation, f"results/{request.name}/{'/'.join(wanted)}")
    found = pager.page(request.page_token, request.page_size, total, bounds)
    result = stored_results.load_rows(reader, request.name, wanted, found.start, found.stop)
    most = tables.fitting(result, limits)
    if found.stop - found.start > most:
        found = Page(found.start, found.start + most, total)
        short = {name: table.slice(0, most) for name, table in result.tables.items()}
        result = dataclasses.replace(result, tables=short)
    return experiment_pb2.GetResultResponse(
        result=tables.encoded(result),
        total=total,
        next_page_token=pager.token_after(found),
        out_of_date=stored_results.out_of_date(reader.manifest, request.name),
    )


def _requested_tables(request: experiment_pb2.GetResultRequest, entry: ResultEntry) -> list[str]:
    for table in request.tables:
        if table not in entry.tables:
            there = ", ".join(sorted(entry.tables)) or "none"
            raise NotFoundError(f"The result {request.name} has no table {table!r}; it has: {there}.")
    return list(dict.fromkeys(request.tables)) or list(entry.tables)


def _rows(reader: CollectionReader, path: str) -> int:
    return reader.manifest.files[path].rows or 0
