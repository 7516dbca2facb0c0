"""Regenerate the Python stubs in client/lookalike/v1 from the .proto files.

    python proto/generate.py           write the stubs
    python proto/generate.py --check   fail when the stubs are not what would be written

The generator lives in a virtual environment of its own and is pinned to the
oldest release that works: stubs demand at least the runtime that they were
generated with, so an old generator keeps the users' protobuf floor low.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
STUBS = ROOT / "client" / "lookalike" / "v1"
# setuptools: grpcio-tools of that age imports pkg_resources, which later
# releases of setuptools no longer have.
PINS = ("grpcio-tools==1.49.1", "mypy-protobuf==3.6.0", "types-protobuf==4.24.0.20240408", "setuptools==80.9.0")


def interpreter() -> str | None:
    """Python 3.11, the newest that the pinned grpcio-tools has wheels for; None where there is none."""
    return sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")


def generator_python() -> Path:
    """The interpreter of the generator's environment, made at first use."""
    home = ROOT / ".cache" / "protoc"
    python = home / "bin" / "python"
    stamp = home / "pins.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINS):
        subprocess.run([interpreter(), "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS], check=True)
        stamp.write_text("\n".join(PINS))
    return python


def generate(out: Path) -> None:
    """Write the stubs of every .proto file below PROTO into out/lookalike/v1."""
    python = generator_python()
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    command = [
        python, "-W", "ignore", "-m", "grpc_tools.protoc",
        f"--plugin=protoc-gen-mypy={python.parent / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={python.parent / 'protoc-gen-mypy_grpc'}",
        f"-I{PROTO}",
        f"--python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--grpc_python_out={out}",
        f"--mypy_grpc_out=quiet:{out}",
        *sources,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    for path in (out / "lookalike" / "v1").glob("*_pb2_grpc.pyi"):
        path.write_text(complete(path.read_text()))


def complete(stub: str) -> str:
    """A stub whose types are known in full: the pinned generator leaves the parameters of a generic class out."""
    return stub.replace(
        "(grpc.ServicerContext, grpc.aio.ServicerContext)",
        "(grpc.ServicerContext, grpc.aio.ServicerContext[typing.Any, typing.Any])",
    )


def stub_names(folder: Path) -> set[str]:
    return {path.name for pattern in ("*_pb2*.py", "*_pb2*.pyi") for path in folder.glob(pattern)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Regenerate the Python stubs from the .proto files.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when the stubs are stale")
    check = parser.parse_args().check
    if interpreter() is None:
        # Another interpreter cannot run the generator; CI has this one and compares.
        message = "proto/generate.py needs Python 3.11 on PATH."
        if not check:
            sys.exit(message)
        print(f"Stubs not compared: {message}")
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / "lookalike" / "v1"
        names = stub_names(fresh) | stub_names(STUBS)
        _, differ, missing = filecmp.cmpfiles(fresh, STUBS, sorted(names), shallow=False)
        if check:
            if differ or missing:
                sys.exit(f"The stubs are stale: {', '.join(sorted(differ + missing))}. Run: make proto")
            return
        for name in stub_names(STUBS):
            (STUBS / name).unlink()
        for name in stub_names(fresh):
            (STUBS / name).write_bytes((fresh / name).read_bytes())


if __name__ == "__main__":
    main()
