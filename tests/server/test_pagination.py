from __future__ import annotations

import base64

import pytest

from lookalike_indexer.errors import MismatchError
from lookalike_server.common.errors import ArgumentError
from lookalike_server.common.limits import Limits
from lookalike_server.services.pagination import Pager

LIMITS = Limits(max_page_size=10, default_page_size=4)


def test_pages_cover_everything_once() -> None:
    pager = Pager(3, "images/cat")
    token, seen = "", []
    while True:
        page = pager.page(token, 0, 11, LIMITS)
        seen += range(page.start, page.stop)
        token = pager.token_after(page)
        if not token:
            break
    assert seen == list(range(11))


def test_empty_listing_is_one_empty_page() -> None:
    page = Pager(3, "x").page("", 5, 0, LIMITS)
    assert (page.start, page.stop) == (0, 0)
    assert Pager(3, "x").token_after(page) == ""


def test_token_is_bound_to_generation_and_request() -> None:
    token = Pager(3, "images/cat").token_after(Pager(3, "images/cat").page("", 4, 11, LIMITS))
    with pytest.raises(MismatchError, match="generation 3 and the server now has generation 4"):
        Pager(4, "images/cat").page(token, 4, 11, LIMITS)
    with pytest.raises(ArgumentError, match="another request"):
        Pager(3, "images/dog").page(token, 4, 11, LIMITS)
    with pytest.raises(ArgumentError, match="not for this request"):
        Pager(3, "images/cat").page(token, 4, 2, LIMITS)


@pytest.mark.parametrize("token", ["x", "!!!!", "é", "AAAA", base64.urlsafe_b64encode(b"x" * 23).decode()])
def test_nonsense_is_rejected(token) -> None:
    with pytest.raises(ArgumentError, match="The page token is not valid"):
        Pager(3, "x").page(token, 4, 11, LIMITS)


@pytest.mark.parametrize("size", [-1, 11])
def test_sizes_out_of_range_are_rejected(size) -> None:
    with pytest.raises(ArgumentError, match="0 to 10"):
        Pager(3, "x").page("", size, 11, LIMITS)
