"""Fuzz one part of Lookalike with atheris.

python -m tests.fuzz manifest --seconds 300      for 300 seconds, from the kept corpus
python -m tests.fuzz manifest --runs 2000        a fixed number of executions
python -m tests.fuzz manifest --seeds            write the corpus's initial entries again

Findings are kept in build/fuzz/TARGET; the exit code is then not 0. The kept
corpora in tests/fuzz/corpora were made only by these seeds and the fuzzer.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import sys
import tempfile
from pathlib import Path

TARGETS = ("experiments", "filter", "image", "manifest", "part", "request")
CORPORA = Path(__file__).resolve().parent / "corpora"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", action="store_true")
    given = parser.parse_args()
    corpus = CORPORA / given.target
    if given.seeds:
        _write_seeds(given.target, corpus)
        return
    # The fuzzer ends its process immediately, so another process must clean up.
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if child := os.fork():
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        else:
            tempfile.tempdir = folder
            _fuzz(given, corpus, Path(folder) / "corpus")
            os._exit(0)
    sys.exit(code if code >= 0 else 1)


def _write_seeds(name: str, corpus: Path) -> None:
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in module.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def _fuzz(given: argparse.Namespace, corpus: Path, working: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["lookalike_indexer", "lookalike_server", "lookalike.wire", "PIL"]):
        module = importlib.import_module(f"tests.fuzz.targets.{given.target}")
    found = Path("build") / "fuzz" / given.target
    found.mkdir(parents=True, exist_ok=True)
    # New entries of the fuzzer stay out of the kept corpus.
    working.mkdir()
    arguments = [
        sys.argv[0], f"-seed={given.seed}", f"-runs={given.runs}", f"-max_total_time={given.seconds}",
        # An input that is slow on a busy machine is no finding.
        "-timeout=25", "-report_slow_units=25", "-rss_limit_mb=3072", "-max_len=65536",
        f"-artifact_prefix={found}/", "-print_final_stats=1",
        str(working), str(corpus),
    ]  # fmt: skip
    atheris.Setup(arguments, module.target, enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
