"""Addresses of servers: gRPC target syntax, ports, and the check for addresses of this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from lookalike._errors import InvalidArgumentError

IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# gRPC's schemes. Any other text before a colon is a host name.
_SCHEME: Final = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|google-c2p):(?://[^/]*/)?/?", re.IGNORECASE)
_SOCKETS: Final = ("unix", "unix-abstract")
_NETWORKS: Final = ("dns", "ipv4", "ipv6")
_ENDPOINT: Final = re.compile(r"(?:\[([^\[\]/\s]+)\]|([^\[\]:/\s]+))(?::([0-9]+))?")

# Upper limit in seconds for a name server that does not answer.
_LOOKUP_S: Final = 1.0


@dataclass(frozen=True)
class Endpoint:
    """A host without brackets and a port; the port is None for gRPC's default."""

    host: str
    port: int | None


@dataclass(frozen=True)
class Address:
    """A parsed gRPC target. `endpoints` is empty for schemes without hosts."""

    scheme: str
    endpoints: tuple[Endpoint, ...]

    @classmethod
    def parse(cls, target: object) -> Address:
        """Parse `target`; raise InvalidArgumentError if it is no valid target or its port is out of range."""
        if not isinstance(target, str) or not target:
            raise _malformed(target)
        prefix = _SCHEME.match(target)
        scheme = prefix.group(1).lower() if prefix else ""
        if scheme and scheme not in _NETWORKS:
            return cls(scheme, ())
        rest = target[prefix.end() :] if prefix else target
        # Only ipv4 and ipv6 take lists.
        texts = rest.split(",") if scheme in ("ipv4", "ipv6") else [rest]
        return cls(scheme, tuple(_endpoint(target, text, needs_port=not scheme) for text in texts))

    @property
    def is_loopback(self) -> bool:
        """True if calls provably stay on this machine, without a lookup of any name but localhost."""
        if self.scheme in _SOCKETS:
            return True
        return bool(self.endpoints) and all(_is_loopback(one.host) for one in self.endpoints)

    @property
    def is_own(self) -> bool:
        """True if every endpoint is an address of this machine. Looks names up, for one second at most."""
        if self.is_loopback:
            return True
        return bool(self.endpoints) and all(_is_own(one.host) for one in self.endpoints)


def _endpoint(target: str, text: str, needs_port: bool) -> Endpoint:
    found = _ENDPOINT.fullmatch(text)
    if found is None or (found.group(3) is None and needs_port):
        raise _malformed(target)
    host, port = found.group(1) or found.group(2), found.group(3)
    if port is None:
        return Endpoint(host, None)
    # gRPC would take the lowest 16 bits of a larger number.
    if len(port) > 5 or not 1 <= int(port) <= 65535:
        raise InvalidArgumentError(f"The server's address is {target!r}; its port {port} must be 1 to 65535.")
    return Endpoint(host, int(port))


def _malformed(target: object) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The server's address is {target!r}; it must be like '127.0.0.1:50051' or '[::1]:50051'."
    )


def _is_loopback(host: str) -> bool:
    literal = _literal(host)
    if literal is None:
        return host.lower().removesuffix(".") == "localhost"
    # A connection to the unspecified address reaches this machine.
    return literal.is_loopback or literal.is_unspecified


def _literal(host: str) -> IPAddress | None:
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = literal.ipv4_mapped if isinstance(literal, ipaddress.IPv6Address) else None
    return mapped or literal


def _is_own(host: str) -> bool:
    if _is_loopback(host):
        return True
    found = _resolved(host)
    return bool(found) and all(_reaches_itself(family, address) for family, address in found)


def _resolved(host: str) -> list[tuple[socket.AddressFamily, Any]]:
    """Return the addresses of a host; an empty list if the lookup fails or takes too long."""
    found: list[tuple[socket.AddressFamily, Any]] = []

    def look_up() -> None:
        try:
            listed = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            return
        found.extend((family, address) for family, _, _, _, address in listed)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(_LOOKUP_S)
    return [] if thread.is_alive() else found


def _reaches_itself(family: socket.AddressFamily, address: Any) -> bool:
    """Return True if packets to an address leave from the same address, so that it belongs to this machine."""
    if _is_loopback(str(address[0])):
        return True
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # a datagram socket sends nothing here
            return bool(probe.getsockname()[0] == address[0])
    except OSError:
        return False
