"""Run the client's tests with the oldest releases that pyproject.toml allows.

    python scripts/floors.py .cache/floors

Creates a virtual environment there with the lowest direct dependencies of the client, its command line and the
explorer, and runs tests/client in it. Needs uv.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Packages that the tests need in addition.
TOOLS = (
    "pytest>=8.3,<9.2",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "httpx",
    "psutil",
    "pandas==2.2.*",
    "pyarrow==17.*",
)
# Packages that are not installed here; tests that import them are skipped.
PACKAGES = ("lookalike_indexer", "lookalike_server", "playwright", "scipy")
# Tests that need all commands, a prepared process with all packages, or ruff.
NEED_ALL = (
    "help_lists_every_command", "analyses_are_a_group", "ctrl_c_ends_quietly", "reader_that_leaves", "shell_completes",
    "asyncio_client_is_what_its_source_makes",
)  # fmt: skip
OF_GRPC = ("grpcio-health-checking", "grpcio-status")


def run(*command: str | Path, **environment: str) -> None:
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode:
        sys.exit(f"failed: {' '.join(map(str, command[:6]))} ...")


def main(home: Path) -> None:
    python = home / "bin" / "python"
    pins = home / "floors.txt"
    uv = [shutil.which("uv") or str(Path(sys.executable).parent / "uv")]
    run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, home)
    run(
        *uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--extra", "cli", "--extra", "explorer",
        "--no-annotate", "--no-header", "pyproject.toml", "-o", pins,
    )  # fmt: skip
    print(pins.read_text(), flush=True)
    grpc = next(line.partition("==")[2] for line in pins.read_text().splitlines() if line.startswith("grpcio=="))
    same = [f"{name}=={grpc}" for name in OF_GRPC]
    run(*uv, "pip", "install", "--quiet", "--python", python, "-r", pins, *TOOLS, *same)
    # Installed for its entry points, which are the commands.
    run(*uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", ROOT)
    others = [f"--ignore={file}" for file in (ROOT / "tests" / "client").rglob("test_*.py") if needs_more(file)]
    run(
        python,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "tests/client",
        *others,
        "-k",
        f"not ({' or '.join(NEED_ALL)})",
        PYTHONPATH=str(ROOT / "client"),
    )


def needs_more(file: Path) -> bool:
    """Return True if a test imports a package that is not installed here."""
    return any(re.search(rf"^\s*(?:import|from) {name}\b", file.read_text(), flags=re.MULTILINE) for name in PACKAGES)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
