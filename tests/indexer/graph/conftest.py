from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.graph import graph


@pytest.fixture
def graphed():
    """Build the graph of a collection: `graphed(storage, "-k", 3)` returns the --json output."""

    def run(storage, *options, code=0):
        given = [str(storage.root), *map(str, options), "--json"]
        result = CliRunner().invoke(graph, given)
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if code == 0 else " ".join(result.output.split())

    return run
