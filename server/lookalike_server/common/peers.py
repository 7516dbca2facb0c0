"""The other end of a connection, as gRPC names it: ipv4:192.0.2.1:40000, ipv6:%5B::1%5D:40000, unix:."""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import unquote


def host_of(peer: str) -> str:
    """The address of a peer, without the port: 192.0.2.1, ::1, unix; "" for what is no peer."""
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return kind
    return unquote(rest).rpartition(":")[0].strip("[]")


def is_this_machine(peer: str) -> bool:
    """Whether a peer came over loopback or a socket of the file system; a proxy there makes all peers look so."""
    host = host_of(peer)
    return host == "unix" or is_loopback(host)


# Reading an address takes longer than all else that is looked at of a call.
@functools.lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, is that of the loopback interface."""
    if host == "localhost":
        return True
    try:
        # Of fe80::1%eth0, the address.
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
