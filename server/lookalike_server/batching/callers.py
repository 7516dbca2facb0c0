"""Peer of the current call, for the queues that share the server among peers."""

from __future__ import annotations

from lookalike_server.common import call_record as record
from lookalike_server.common.peers import host_of


def peer() -> str:
    """Return the token's name if tokens are set, else the client's address; "" outside of calls, as during warm-up.

    The port is left out, so that a client gets no larger share by opening more connections.
    """
    call = record.current()
    if call is None:
        return ""
    return f"token {call.caller}" if call.caller else host_of(call.peer)
