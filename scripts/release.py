"""Build the distributions, check them, and test each in fresh environments.

    python scripts/release.py dist

Nothing is uploaded. The wheel is installed in a fresh environment of each Python from 3.11 to 3.13 on this machine: the
client alone, then with its command line. At the end the whole pipeline runs from the wheel, with the packages of this
environment: index, serve and search a dozen small images.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ("3.11", "3.12", "3.13")
IN_WHEEL = (
    "lookalike/py.typed", "lookalike/v1/search_pb2.pyi", "lookalike/explorer/static/index.html",
    "lookalike/explorer/static/vendor/inter.woff2", "lookalike_indexer/__init__.py", "lookalike_server/__init__.py",
)  # fmt: skip
LICENSES = ("LICENSE", "inter.LICENSE", "twgl.LICENSE", "kdbush.LICENSE", "DejaVuSans.LICENSE")

CLIENT = """
import lookalike, lookalike.aio, sys
assert lookalike.__version__ == sys.argv[1], lookalike.__version__
try:
    lookalike.Client("127.0.0.1:9", wait_for_server=False, retries=0).info(timeout=5)
except lookalike.UnavailableError as error:
    print(error)
"""


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=tempfile.gettempdir(), env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def check_version() -> None:
    version = PROJECT["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[?{re.escape(version)}\]?", changelog, flags=re.MULTILINE):
        sys.exit(f"CHANGELOG.md has no section {version}; write one before the release.")


def build(dist: Path) -> tuple[Path, Path]:
    shutil.rmtree(dist, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT)
    [wheel], [source] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [name for name in IN_WHEEL if name not in names]
    missing += [
        name for name in LICENSES if not any(each.endswith(f"/{name}") for each in names if "licenses/" in each)
    ]
    foreign = sorted(name for name in names if name.startswith(("tests/", "lookalike_benchmarks")))
    if missing or foreign:
        sys.exit(f"{wheel.name} lacks {missing} and has {foreign[:3]}.")
    with tarfile.open(source) as archive:
        if not any(name.endswith("/proto/generate.py") for name in archive.getnames()):
            sys.exit(f"{source.name} lacks proto/.")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size:,} bytes; twine finds nothing", flush=True)
    return wheel, source


def interpreter(version: str) -> str | None:
    """Return the Python of this version on PATH or in pyenv; None if there is none."""
    found = [shutil.which(f"python{version}")]
    if "PYENV_ROOT" in os.environ:
        versions = Path(os.environ["PYENV_ROOT"]) / "versions"
        found += map(str, versions.glob(f"{version}.*/bin/python{version}"))
    for python in filter(None, found):
        # pyenv has shims also for versions that are not selected.
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return None


def try_in_fresh_environments(wheel: Path) -> int:
    tried = 0
    for version in PYTHONS:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: NOT CHECKED, it is not here", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            run(python, "-m", "venv", folder)
            own = Path(folder) / "bin" / "python"
            run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
            installed = run(own, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check")
            names = {line.partition("==")[0].lower() for line in installed.split()} - {"pip", "setuptools"}
            direct = {"grpcio", "numpy", "protobuf", "lookalike"}
            if not direct <= names or names - direct - {"typing_extensions", "typing-extensions"}:
                sys.exit(f"Python {version}: the base install brings {sorted(names)}.")
            run(own, "-I", "-c", CLIENT, PROJECT["version"])
            run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[cli]")
            for arguments in (["--version"], ["--help"], ["search", "--help"], ["info", "--help"]):
                run(Path(folder) / "bin" / "lookalike", *arguments)
        print(f"Python {version}: the client and its command line work in a fresh environment", flush=True)
        tried += 1
    return tried


def try_the_pipeline(wheel: Path) -> None:
    """Index, serve and search with the code of the wheel and the dependencies of this environment."""
    with tempfile.TemporaryDirectory() as folder:
        code, images = Path(folder) / "code", Path(folder) / "images"
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", code, wheel)
        run(sys.executable, "-c", DRAW, images)
        lookalike = [sys.executable, "-m", "lookalike"]
        # A network with random weights, so that nothing is downloaded.
        options = ["--model", "squeezenet1_1", "--weights", "untrained:0", "--clusters", "2", "--workers", "1"]
        environment = {"PYTHONPATH": str(code)}
        run(*lookalike, "index", images, "--collection", Path(folder) / "made", *options, **environment)
        told = run(sys.executable, "-c", SEARCH, Path(folder) / "made", code, **environment)
        print(f"the wheel indexes, serves and searches: {told.strip()}", flush=True)


DRAW = """
import sys, pathlib, numpy as np
from PIL import Image
random = np.random.default_rng(0)
for label in ("red", "blue"):
    folder = pathlib.Path(sys.argv[1]) / label
    folder.mkdir(parents=True)
    for number in range(6):
        pixels = random.integers(0, 80, (64, 64, 3), dtype=np.uint8)
        pixels[..., 0 if label == "red" else 2] += 150
        Image.fromarray(pixels).save(folder / f"{number}.png")
"""
SEARCH = """
import sys, lookalike
assert lookalike.__file__.startswith(sys.argv[2]), lookalike.__file__
with lookalike.open(sys.argv[1]) as client:
    near = client.search(key="red/0.png", k=3)
    assert len(near) == 3 and len(client.membership(key="blue/1.png")) == 1
    print(near.keys)
"""


def main(dist: Path) -> None:
    check_version()
    wheel, _ = build(dist)
    if not try_in_fresh_environments(wheel):
        sys.exit("No Python from 3.11 to 3.13 is here.")
    try_the_pipeline(wheel)
    print(f"{dist} is ready: tag v{PROJECT['version']}, then upload with twine.")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
