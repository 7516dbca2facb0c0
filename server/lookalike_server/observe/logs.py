"""How log lines look: text for people, JSON for collectors. Each line of a call carries the call's id and its caller.

Log lines say what happened and never what was in a request: no vectors, no
pictures, no tokens. Control characters are escaped, so that nobody can write
a second line, or to the terminal, through a name.
"""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any, Literal

from lookalike_indexer.text import harmless
from lookalike_server.common import call_record as record
from lookalike_server.common.call_record import CallRecord

LogFormat = Literal["text", "json"]

# The log that has a line for each call.
CALLS = "lookalike_server.calls"

log = logging.getLogger(CALLS)


def configure(log_format: LogFormat, process: str = "") -> None:
    """Write the process's log to standard error in a format, from level INFO; lines of one of several name it."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(process) if log_format == "json" else TextFormatter(process))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # It tells of each kind of library that is not installed as if that were a fault.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """time level [process] logger: message [request id caller]"""

    def __init__(self, process: str = "") -> None:
        super().__init__(f"%(asctime)s %(levelname)s {f'[{process}] ' if process else ''}%(name)s: %(message)s")

    def formatMessage(self, line: logging.LogRecord) -> str:  # noqa: N802 - the base's name for it
        call = record.current()
        text = harmless(super().formatMessage(line))
        return f"{text} [{call.request_id} {call.asker}]" if call else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line; its fields are listed in docs/observability.md."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, line: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(line.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": line.levelname,
            "logger": line.name,
            "message": line.getMessage(),
        }
        if self._process:
            fields["process"] = self._process
        call = record.current()
        if call:
            fields["request_id"] = call.request_id
            fields["caller"] = call.asker
            if trace := trace_id(call.traceparent):
                fields["trace_id"] = trace
        fields |= getattr(line, "fields", {})
        if line.exc_info:
            fields["exception"] = self.formatException(line.exc_info)
        # ASCII: a name may hold what cannot be encoded, or what moves the reader's cursor.
        return json.dumps(fields)


class CallLog:
    """A Sink that writes a line for each call."""

    def ended(self, call: CallRecord) -> None:
        ms = round(call.seconds * 1000, 3)
        fields: dict[str, Any] = {"rpc": call.rpc, "code": call.code, "ms": ms}
        if call.collection:
            fields["collection"] = call.collection
        if call.cause:
            fields["cause"] = call.cause
        fields |= {f"{step.name}_ms": round(step.seconds * 1000, 3) for step in call.stages}
        log.info("%s %s in %g ms", call.rpc, call.code, ms, extra={"fields": fields})


def trace_id(traceparent: str) -> str:
    """The trace's id in a W3C traceparent, "" when there is none."""
    parts = traceparent.split("-")
    whole = len(parts) >= 4 and len(parts[1]) == 32 and all(digit in "0123456789abcdef" for digit in parts[1])
    return parts[1] if whole else ""
