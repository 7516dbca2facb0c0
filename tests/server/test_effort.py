from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lookalike_indexer.collection.manifest import RecallPoint
from lookalike_indexer.collection.reader import CollectionReader
from lookalike_server.common.limits import Limits
from lookalike_server.search.effort import Effort, Planner


@pytest.mark.parametrize("measured", [0.6, 0.7, 0.8, 0.95, 0.9991, 1.0])
def test_measured_recall_can_be_requested(make_toy, measured) -> None:
    entry = CollectionReader.open(str(make_toy(index="IVF16,Flat").root)).index()
    planner = Planner(dataclasses.replace(entry, recall=[RecallPoint(2, measured)]), False, True)
    # The message has a float32, which is above 0.8 for 0.8.
    plan = planner.plan(Effort(recall=float(np.float32(measured))), Limits())
    assert (plan.nprobe, plan.expected_recall) == (2, measured)
