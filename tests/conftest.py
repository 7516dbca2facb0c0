"""Fixtures for all tests: real images, real weights, the command line."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests import zygote
from tests.patience import PATIENT_ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent
# Images and weights are outside the checkout: their licenses allow tests
# but not redistribution.
DATA = Path(os.environ.get("LOOKALIKE_TEST_DATA", ROOT.parent / "shared" / "data"))

# Python 3.11 sometimes crashes if garbage is collected while an asyncio server of gRPC, started by a test in this
# process, is active (docs/reliability-evidence.md). So garbage is collected only between tests.
_FULL_EVERY = 50

# Two pytest workers share two cores: OpenMP threads that spin would take time from the other worker.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# OpenBLAS threads always spin, which took three quarters of the processor time in clustering tests.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# scikit-learn sets these variables when it is imported. A process whose OpenMP environment differs from the zygote's
# is a new interpreter, so without this every process that is started after that import would be one.
os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "True")
os.environ.setdefault("KMP_INIT_AT_FORK", "FALSE")

# numba would compile UMAP for a minute; interpreting it takes a second for the few images of the tests.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

# No deadline for hypothesis examples: other load and first imports make their duration meaningless.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure() -> None:
    gc.disable()
    # Servers that tests kill leave their secrets behind: use a private runtime directory, not the user's.
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="lookalike-tests-")
    os.environ.update(PATIENT_ENVIRONMENT)
    # After the last change of the environment, which the zygote copies.
    global _end_zygote
    _end_zygote = zygote.install(zygote.Zygote.started, zygote.Zygote.of_decoders)


_end_zygote: Callable[[], None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    with zygote.own_processes() if item.get_closest_marker("own_process") else contextlib.nullcontext():
        result = yield
    if nextitem is None or nextitem.path != item.path:
        zygote.restore_environment()
    return result


def pytest_collection_finish() -> None:
    # Objects of imported modules stay, so the collector need not examine them again.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    _end_zygote()
    # At exit, libraries report resources that were not freed; a fork ends without that.
    if not zygote.is_fork():
        gc.unfreeze()
    shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


_ended = 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    global _ended
    _ended += 1
    gc.collect(2 if _ended % _FULL_EVERY == 0 else 1)


def _folder(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"needs the test data in {folder} (set LOOKALIKE_TEST_DATA to where it is)")
    return folder


@pytest.fixture(scope="session")
def photos_dir() -> Path:
    """Labeled images: caltech101, imagenette, imagenet100, cifar10."""
    return _folder("photos")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Compressed real weights, and decode.py, which expands them."""
    return _folder("weights")


@pytest.fixture(scope="session")
def odd_dir() -> Path:
    """Files that are hard to decode."""
    return _folder("odd")


@pytest.fixture(scope="session")
def expanded(weights_dir: Path) -> Callable[[str, str], Path]:
    """Expand compressed weights to a cached state dict: `expanded("pqf/resnet50_large.pth", "resnet50")`."""

    def expand(compressed: str, arch: str) -> Path:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lookalike-tests"
        cache.mkdir(parents=True, exist_ok=True)
        plain = cache / compressed.replace("/", "-")
        if not plain.exists():
            partial = plain.with_suffix(f".{os.getpid()}.tmp")
            command = [sys.executable, "decode.py", compressed, arch, str(partial)]
            subprocess.run(command, cwd=weights_dir, check=True, capture_output=True, timeout=240)
            partial.replace(plain)
        return plain

    return expand


@pytest.fixture(scope="session")
def resnet50_weights(expanded: Callable[[str, str], Path]) -> Path:
    """Weights of a real ImageNet ResNet-50."""
    return expanded("pqf/resnet50_large.pth", "resnet50")


@pytest.fixture(scope="session")
def resnet18_weights(expanded: Callable[[str, str], Path]) -> Path:
    """Weights of a real ImageNet ResNet-18."""
    return expanded("pqf/resnet18.pth", "resnet18")


@pytest.fixture
def lookalike() -> Run:
    """Run the command line in a process of its own: `lookalike("info", folder)`."""

    def run(*arguments: object, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lookalike", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **environment},
            check=False,
        )

    return run


@pytest.fixture
def typed() -> Run:
    """Run the command line in this process, which imports torch only once.

    For tests of the command itself; use `lookalike` for tests of its process.
    """
    from lookalike.cli._run import run

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        out, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        line = [str(argument) for argument in arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = run(line)
        said = [stream.buffer.getvalue().decode() for stream in (out, errors)]
        return subprocess.CompletedProcess(line, code, *said)

    return call


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu if faiss or torch finds no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import faiss
    import torch

    if faiss.get_num_gpus() == 0 or not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU that both faiss and torch can see"))
