"""Addresses of peers, as gRPC formats them: ipv4:192.0.2.1:40000, ipv6:%5B::1%5D:40000, unix:."""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import unquote


# Both are cached, because a call needs them several times, and parsing takes longer than all its other checks.
@functools.lru_cache(maxsize=1024)
def host_of(peer: str) -> str:
    """Return the address of a peer without the port: 192.0.2.1, ::1, unix; "" if it is not a peer."""
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return kind
    return unquote(rest).rpartition(":")[0].strip("[]")


def is_this_machine(peer: str) -> bool:
    """Return whether a peer came over loopback or a Unix socket. Behind a local proxy, all peers do."""
    host = host_of(peer)
    return host == "unix" or is_loopback(host)


@functools.lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Return whether an address, or the name localhost, is of the loopback interface."""
    if host == "localhost":
        return True
    try:
        # Drop the zone of an address such as fe80::1%eth0.
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
