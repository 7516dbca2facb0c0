"""Lists that a server returns page by page, read as one sequence."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lookalike._columns import Columns
from lookalike._errors import FailedPreconditionError, GenerationChangedError
from lookalike._notebook import html
from lookalike._served import Served

Row = TypeVar("Row")
Items = TypeVar("Items", bound=Columns[Any])


@dataclass(frozen=True)
class Page(Generic[Items]):
    """A page of a list: its rows as columns, and `total`, the length of the whole list.

    `next_page_token` is "" on the last page.
    """

    items: Items
    total: int
    next_page_token: str = field(repr=False)
    served: Served = field(repr=False)


class Pager(Generic[Row, Items]):
    """A list on the server, fetched page by page during iteration.

    Iteration yields rows; `pages()` yields the same rows as columns. Each iteration starts from
    the beginning. All pages are of one generation of the collection: GenerationChangedError is
    raised if a newer one is loaded during the iteration.
    """

    def __init__(self, fetch: Callable[[str], Page[Items]]) -> None:
        self._fetch = fetch

    def pages(self, start: str = "") -> Iterator[Page[Items]]:
        """Yield the pages in order, each fetched on demand; `start` is a `next_page_token` to begin from."""
        token, first = start, None
        while True:
            try:
                page = self._fetch(token)
            except FailedPreconditionError as error:
                raise _stale(error, token) from error
            first = _of_one_generation(first, page)
            yield page
            token = page.next_page_token
            if not token:
                return

    def __iter__(self) -> Iterator[Row]:
        for page in self.pages():
            yield from page.items

    def to_pandas(self) -> Any:
        """Fetch all pages and return the rows as a pandas.DataFrame. ImportError: pandas is not installed."""
        frames = [page.items.to_pandas() for page in self.pages()]
        return importlib.import_module("pandas").concat(frames, ignore_index=True)

    def to_arrow(self) -> Any:
        """Fetch all pages and return the rows as a pyarrow.Table. ImportError: pyarrow is not installed."""
        tables = [page.items.to_arrow() for page in self.pages()]
        return importlib.import_module("pyarrow").concat_tables(tables)

    def _repr_html_(self) -> str:
        """Return HTML of the first page and the length of the list."""
        first = next(self.pages())
        return html.box(html.heading(f"The first {len(first.items):,} of {first.total:,}"), first.items._repr_html_())


class AsyncPager(Generic[Row, Items]):
    """Pager for `async for`."""

    def __init__(self, fetch: Callable[[str], Awaitable[Page[Items]]]) -> None:
        self._fetch = fetch

    async def pages(self, start: str = "") -> AsyncIterator[Page[Items]]:
        """Yield the pages in order, each fetched on demand; `start` is a `next_page_token` to begin from."""
        token, first = start, None
        while True:
            try:
                page = await self._fetch(token)
            except FailedPreconditionError as error:
                raise _stale(error, token) from error
            first = _of_one_generation(first, page)
            yield page
            token = page.next_page_token
            if not token:
                return

    async def __aiter__(self) -> AsyncIterator[Row]:
        async for page in self.pages():
            for row in page.items:
                yield row


def _stale(error: FailedPreconditionError, token: str) -> FailedPreconditionError:
    """Return the error of a page: if a later page is rejected, its token has become invalid."""
    if not token:
        return error
    return GenerationChangedError(
        str(error), code=error.code, retry_after=error.retry_after, request_id=error.request_id
    )


def _of_one_generation(first: Page[Any] | None, page: Page[Items]) -> Page[Any]:
    if first is None:
        return page
    before, now = first.served.generation, page.served.generation
    if before != now:
        raise GenerationChangedError(
            f"Generation {now} replaced {before} between two pages; read the pages again from the first."
        )
    return first
