from __future__ import annotations

import subprocess
import sys


def test_decoding_workers_load_neither_torch_nor_arrow():
    """Each worker is a fresh interpreter, in which torch would cost seconds and hundreds of megabytes."""
    script = (
        "import sys, lookalike_indexer.images.workers; print({'torch', 'torchvision', 'pyarrow'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded == "set()\n"
