"""Create a virtual environment with everything that the project's commands need.

    python scripts/setup.py .venv

Installs the pinned requirements.txt, then the project itself in editable mode. Uses only
the standard library, because it runs before anything is installed.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(home: Path) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - an older Python must be told, not crash
        sys.exit(f"Lookalike needs Python 3.11 or later; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12")
    python = home / "bin" / "python"
    if not python.exists():
        create(home)
    print(f"Installing into {home} (several GB the first time, because of CUDA; a few minutes) ...", flush=True)
    pip(python, "-r", ROOT / "requirements.txt", "--require-hashes")
    pip(python, "--no-deps", "--no-build-isolation", "-e", ROOT)


def create(home: Path) -> None:
    try:
        venv.create(home, with_pip=True)
    except (subprocess.CalledProcessError, ModuleNotFoundError):
        sys.exit(
            "This Python cannot make virtual environments with pip: install its venv package "
            f"(on Debian and Ubuntu: apt install python{sys.version_info.major}.{sys.version_info.minor}-venv)."
        )


def pip(python: Path, *arguments: str | Path) -> None:
    command = [python, "-m", "pip", "install", "--quiet", *arguments]
    if subprocess.run(command, check=False).returncode:
        sys.exit("Installing failed; what pip said is above. Mend it (disk space? network?) and run make again.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
