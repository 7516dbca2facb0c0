"""`python -m tests.programs.embed_on_two_devices SOURCE COLLECTION`: two processes embed, each on the CPU."""

from __future__ import annotations

import sys

from lookalike_indexer.collection.storage import Storage
from lookalike_indexer.embedding.embed_stage import run_embed
from lookalike_indexer.embedding.settings import EmbedSettings
from lookalike_indexer.progress import Silent

if __name__ == "__main__":
    settings = EmbedSettings(sys.argv[1], model="squeezenet1_1", weights="untrained", devices=("cpu", "cpu"), workers=1)
    run_embed(Storage(sys.argv[2]), None, settings, Silent())
