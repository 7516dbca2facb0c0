"""Which proxy gRPC goes through, by its own rules, so that an error can name the variable that says so."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from lookalike._address import Address

# In the order in which gRPC looks; the first that is set counts.
_VARIABLES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS: Final = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True)
class Proxy:
    """A proxy on the way to `host`: the variable of the environment that names it, and its own host and port.

    The password that the variable may hold is left out.
    """

    variable: str
    address: str
    host: str

    @property
    def advice(self) -> str:
        """What an error says about it."""
        return (
            f"The call went through the proxy {self.address}, which the environment variable {self.variable} names; "
            f"to reach the server directly, add {self.host} to no_proxy."
        )


def proxy_of(address: Address, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that gRPC takes to an address; None where it goes there directly.

    Whether the address is this machine's own is not asked here: gRPC does not ask it.
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
    """Whether an entry of no_proxy is the end of a host's name, or a network that has its address."""
    if not entry:
        return False
    # ".example" is for the host "example", too.
    if f".{host}".lower().endswith(entry.lower()):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
