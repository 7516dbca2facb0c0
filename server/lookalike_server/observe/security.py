"""Security log: rejected callers, and changes of what is served.

Not related to audit.py, which measures recall.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import threading
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lookalike_indexer.errors import UsageError
from lookalike_server.common.call_record import CallRecord
from lookalike_server.common.log_once import LogOnce
from lookalike_server.common.peers import host_of
from lookalike_server.observe.logs import JsonFormatter

# Logger of these lines.
SECURITY = "lookalike_server.security"

log = logging.getLogger(SECURITY)

Event = Literal["authentication_failed", "permission_denied", "admin_call"]

# Events by the reason of the error, as in google.rpc.ErrorInfo.
_REFUSED: dict[str, Event] = {"UNKNOWN_CALLER": "authentication_failed", "FORBIDDEN": "permission_denied"}
_WORDS: dict[Event, str] = {
    "authentication_failed": "no known token",
    "permission_denied": "not allowed",
    "admin_call": "admin call",
}
# Seconds between log lines for the same caller, so that guessing tokens does not flood the log.
_QUIET_S = 10.0


class _Refused(NamedTuple):
    event: Event
    rpc: str
    caller: str
    host: str


class SecurityLog:
    """Sink that logs each admin call, and rejected callers with a rate limit per kind."""

    def __init__(self, admin: frozenset[str]) -> None:
        """`admin` are the methods that change what is served, as /package.Service/Method."""
        self._admin = frozenset(method.removeprefix("/") for method in admin)
        self._repeats: LogOnce[_Refused] = LogOnce(_QUIET_S)
        # Readers of metrics run in other threads.
        self._lock = threading.Lock()

    def ended(self, call: CallRecord) -> None:
        event = _REFUSED.get(call.cause)
        if event is not None:
            self.refused(event, call.rpc, call.caller, host_of(call.peer))
        elif call.rpc in self._admin:
            _write(_Refused("admin_call", call.rpc, call.caller, host_of(call.peer)), logging.INFO, code=call.code)

    def refused(self, event: Event, rpc: str, caller: str, host: str) -> None:
        """Log that a caller was rejected. Thread-safe."""
        what = _Refused(event, rpc, caller, host)
        with self._lock:
            self._flush()
            new = self._repeats.quiet(what) is not None
        if new:
            _write(what, logging.WARNING)

    def close(self) -> None:
        """Log how many lines were suppressed."""
        with self._lock:
            self._flush(all_of_them=True)

    def _flush(self, all_of_them: bool = False) -> None:
        for what, count in self._repeats.over(all_of_them):
            _write(what, logging.WARNING, more=count)


def _write(what: _Refused, level: int, more: int = 0, **others: Any) -> None:
    fields: dict[str, Any] = {**what._asdict(), **others}
    if more:
        fields["more"] = more
    log.log(
        level,
        "%s: %s by %s from %s%s%s",
        _WORDS[what.event], what.rpc, what.caller or "unknown caller", what.host,
        f", {more} more times" if more else "", "".join(f", {value}" for value in others.values()),
        extra={"fields": fields},
    )  # fmt: skip


def keep_in(path: Path) -> None:
    """Also write the security log to a file, one JSON object per line. Raises UsageError if it cannot be written.

    Only this user can read the file. It is reopened after a log rotation.
    """
    try:
        handler = _Private(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"--security-log {path} cannot be written: {reason}.") from error
    handler.setFormatter(JsonFormatter())
    log.addHandler(handler)


class _Private(logging.handlers.WatchedFileHandler):
    def _open(self) -> io.TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600))
