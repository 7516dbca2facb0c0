"""Detection of the HTTP proxy that gRPC uses, so that an error can name the environment variable."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from lookalike._address import Address

# In gRPC's order; gRPC uses the first one that is set.
_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True)
class Proxy:
    """A proxy on the way to `host`: the environment variable that names it, and its address without a password."""

    variable: str
    address: str
    host: str

    @property
    def advice(self) -> str:
        """The sentence that an error adds about the proxy."""
        return (
            f"The call went through the proxy {self.address}, which the environment variable {self.variable} names; "
            f"to reach the server directly, add {self.host} to no_proxy."
        )


def proxy_of(address: Address, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that gRPC uses for an address; None if it connects directly.

    Like gRPC, this does not check whether the address is this machine's own.
    """
    variable = next((name for name in _VARIABLES if name in environment), None)
    if variable is None or not address.endpoints:
        return None
    try:
        url = urlsplit(environment[variable])
        host, port = url.hostname, url.port
    except ValueError:
        return None
    # gRPC ignores proxies of other schemes.
    if url.scheme != "http" or not host:
        return None
    excepted = next((environment[name] for name in _EXCEPTIONS if name in environment), "")
    if any(
        _is_excepted(endpoint.host, entry.strip()) for entry in excepted.split(",") for endpoint in address.endpoints
    ):
        return None
    return Proxy(variable, host if port is None else f"{host}:{port}", address.endpoints[0].host)


def _is_excepted(host: str, entry: str) -> bool:
    """Return True if an entry of no_proxy is a suffix of the host's name, or a network with its address."""
    if not entry:
        return False
    # ".example" matches the host "example", too.
    if f".{host}".lower().endswith(entry.lower()):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
