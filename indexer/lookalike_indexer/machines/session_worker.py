"""Worker of a session: a process on a machine of a cluster that keeps values between calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from lookalike_indexer.machines.work import Failed


class SessionWorker:
    """Answers requests one after another; they share one dictionary."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        """Set the environment before any library reads it, in particular numbers of threads."""
        os.environ.update(environment)
        self._name = name
        self._kept: dict[Any, Any] = {}

    def ready(self) -> bool:
        """Return True: the process runs."""
        return True

    def answer(self, request: Callable[[dict[Any, Any]], Any]) -> Any:
        """Return the answer to a request, or its error as Failed."""
        try:
            return request(self._kept)
        except Exception as error:  # any exception must reach the driver
            return Failed.of(self._name, error)
