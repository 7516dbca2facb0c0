from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from lookalike_indexer.cli.attach import attach

LABELS = ["cat", "dog", None, "cat", "dog", "cat", None]


@pytest.fixture
def storage(make_collection):
    """Seven images with the keys 00001.jpg, 00004.jpg, ... in parts of three."""
    return make_collection(np.eye(7, 4, dtype=np.float32) + 0.1, labels=LABELS, part_rows=3)


@pytest.fixture
def attached(storage, tmp_path):
    """Attach a table of some text: `attached("shots.csv", text, "--key", "file")` returns the --json output."""

    def run(file, content, *options, code=0):
        path = tmp_path / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        given = [str(storage.root), str(path), *options, *(["--key", "file"] if "--key" not in options else [])]
        result = CliRunner().invoke(attach, [*given, "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if code == 0 else " ".join(result.output.split())

    return run
