"""Whose call this task answers, for the queues that share the server among callers."""

from __future__ import annotations

from lookalike_server.common import call_record as record
from lookalike_server.common.peers import host_of


def peer() -> str:
    """The token's name, where tokens are set, or else the address; "" outside of calls, as when the server warms up.

    Without the port: a peer is not more for opening more connections.
    """
    call = record.current()
    if call is None:
        return ""
    return f"token {call.caller}" if call.caller else host_of(call.peer)
