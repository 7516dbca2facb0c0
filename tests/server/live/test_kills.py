"""A few kills; `python -m tests.server.live --kills 200` makes more."""

from __future__ import annotations

import random as chances

import pytest
from tests.server.live.kills import killed
from tests.server.live.test_update import random


@pytest.mark.timeout(300)
def test_killed_server_loses_no_acknowledged_change_and_stores_none_in_part(make_toy) -> None:
    assert killed(make_toy(random(40)), 2, chances.Random(3)) > 0
