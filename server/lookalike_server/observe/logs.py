"""Log format: text for people, JSON for collectors. Lines of a call include its id and caller.

Log lines never contain data of a request: no vectors, images, or tokens. Control characters are
escaped, so that a name cannot forge a log line or control the terminal.
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

# Logger of the lines for calls.
CALLS = "lookalike_server.calls"

log = logging.getLogger(CALLS)


def configure(log_format: LogFormat, process: str = "") -> None:
    """Log to standard error from level INFO. `process` names one of several processes in each line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(process) if log_format == "json" else TextFormatter(process))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # It logs each missing library variant as if that were an error.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


class TextFormatter(logging.Formatter):
    """Text format: time level [process] logger: message [request id caller]"""

    def __init__(self, process: str = "") -> None:
        super().__init__(f"%(asctime)s %(levelname)s {f'[{process}] ' if process else ''}%(name)s: %(message)s")

    def formatMessage(self, line: logging.LogRecord) -> str:  # noqa: N802 - the base's name for it
        call = record.current()
        text = harmless(super().formatMessage(line))
        return f"{text} [{call.request_id} {call.asker}]" if call else text


class JsonFormatter(logging.Formatter):
    """JSON format: one object per line. docs/observability.md lists the fields."""

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
        # ASCII, because a name may contain characters that cannot be encoded or that move the cursor.
        return json.dumps(fields)


class CallLog:
    """Sink that writes a line for each call."""

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
    """Return the trace id of a W3C traceparent, or ""."""
    parts = traceparent.split("-")
    whole = len(parts) >= 4 and len(parts[1]) == 32 and all(digit in "0123456789abcdef" for digit in parts[1])
    return parts[1] if whole else ""
