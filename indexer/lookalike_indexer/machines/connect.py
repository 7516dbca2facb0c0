"""Connection to a Ray cluster, with sentences for errors."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lookalike_indexer.errors import IndexerError, UsageError

AUTO = "auto"
_REACH_S = 10.0
_JOIN_S = 60.0


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Join the cluster at an address, HOST:PORT or "auto" for that of this machine; yield the module ray.

    Raise UsageError if ray is not installed, or the address is invalid. Raise IndexerError if no cluster answers in
    time, or it refuses this process.
    """
    check_address(address)
    # ray reads these at import: send no usage reports, and keep workers' output in Ray's own logs.
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray needs the package ray: pip install 'lookalike[ray]'.") from error
    if address != AUTO:
        _reach(address)
    _join(ray, address)
    _quiet()
    try:
        yield ray
    finally:
        with contextlib.suppress(Exception):
            ray.shutdown()


def check_address(address: str) -> None:
    """Raise UsageError unless the address is "auto" or HOST:PORT."""
    host, _, port = address.rpartition(":")
    if address == AUTO or (host and port.isdecimal() and 0 < int(port) < 1 << 16 and "/" not in address):
        return
    raise UsageError(
        f"--ray {address!r} is not a cluster that can be joined; give auto or the HOST:PORT of its head, and run the "
        "command on a machine of the cluster."
    )


def _reach(address: str) -> None:
    """Raise IndexerError if nothing listens there. Ray itself would retry for a minute, and print each attempt."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise IndexerError(
            f"No Ray cluster answers at {address} ({reason}); check the address, and that `ray start --head` "
            "runs there."
        ) from error


def _join(ray: Any, address: str) -> None:
    """Join in a thread, because Ray may wait forever, for example if it takes this machine's address for another's."""
    failed: list[BaseException] = []
    # Ray would warn that signals are only handled in the main thread.
    logging.getLogger("ray").setLevel(logging.CRITICAL)

    def join() -> None:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level=logging.CRITICAL)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=join, name="ray", daemon=True)
    thread.start()
    thread.join(_JOIN_S)
    if thread.is_alive():
        raise IndexerError(
            f"The Ray cluster at {address} did not accept this process within {_JOIN_S:.0f} s; run the command on a "
            "machine of the cluster, and start its head with the --node-ip-address that others reach it by."
        )
    if failed:
        raise IndexerError(_refusal(address, failed[0])) from failed[0]


def _quiet() -> None:
    """Suppress Ray's output about lost machines: twenty lines of a log each, although the run continues."""
    with contextlib.suppress(ImportError):
        from ray._private import worker

        # There is no public switch, and the private name differs between releases.
        if hasattr(worker, "print_to_stdstream"):
            worker.print_to_stdstream = lambda *_, **__: None


def _refusal(address: str, error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ConnectionError) and address == AUTO:
        return "This machine belongs to no Ray cluster; run `ray start` first, or give --ray the HOST:PORT of its head."
    if "Version mismatch" in text:
        return f"The Ray cluster at {address} runs other versions than this process; install the same ones. ({text})"
    if "uthentication" in text or "token" in text.lower():
        return (
            f"The Ray cluster at {address} refuses this process; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH as "
            "its machines have them."
        )
    return f"The Ray cluster at {address} cannot be joined: {text[:300].rstrip('. ')}."
