"""How a client reaches its server: address, TLS, proxies, retries, limits."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from lookalike import local_secret
from lookalike._address import Address
from lookalike._attempts import Attempts
from lookalike._environment import Environment
from lookalike._errors import InvalidArgumentError
from lookalike._proxy import Proxy, proxy_of

# gRPC sends a call again by itself where the server never saw it, such as one that
# closes an old connection. It keeps a call's bytes for that only up to this size;
# its own default is 256 KiB, less than one photograph.
_RETRY_BUFFER_BYTES = 256 << 20
# A server may refuse pings that come more often than every 5 minutes, which is
# gRPC's default. That keepalive is set at all also makes a dead connection
# fail after the 20 s below, instead of the many minutes of TCP's own limits.
_KEEPALIVE_MS = 330_000
_KEEPALIVE_TIMEOUT_MS = 20_000
# How long gRPC waits before it connects again; its own default grows to two minutes,
# in which a server could have started long since.
_FIRST_RECONNECT_MS = 100
_LONGEST_RECONNECT_MS = 2_000
MAX_RETRIES = 4

_URL = re.compile(r"(grpcs?)://([^/]*)/?", re.IGNORECASE)
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")

Options = list[tuple[str, Any]]
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TLS:
    """How to trust a server, and how to be trusted by it.

    Each is a path of a PEM file, or its bytes. `ca` holds the certificates to
    trust, those that gRPC ships when None. `cert` and `key` are the client's
    own, for servers that ask for them. `server_name` is the name in the
    server's certificate, where the address is another one.
    """

    ca: str | os.PathLike[str] | bytes | None = None
    cert: str | os.PathLike[str] | bytes | None = None
    key: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidArgumentError("TLS needs cert and key together: the client's certificate and its private key.")

    def credentials(self) -> grpc.ChannelCredentials:
        """InvalidArgumentError: a file that cannot be read."""
        return grpc.ssl_channel_credentials(_pem("ca", self.ca), _pem("key", self.key), _pem("cert", self.cert))


def _pem(name: str, source: str | os.PathLike[str] | bytes | None) -> bytes | None:
    if source is None or isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"TLS {name}: {os.fspath(source)!r} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class Route:
    """How a channel reaches its server: its arguments, and the proxy on the way, None where there is none."""

    options: Options
    proxy: Proxy | None


@dataclass(frozen=True)
class Connection:
    """All settings of a client, which its copies in other processes are made of.

    `timeout` is in seconds; None waits without an end.
    """

    target: str
    tls: TLS | None
    timeout: float | None
    retries: int
    wait_for_server: bool
    token: str | None = field(default=None, repr=False)
    collection: str = ""

    @classmethod
    def checked(
        cls,
        target: str | None,
        tls: bool | TLS,
        timeout: float | None,
        retries: int,
        wait_for_server: bool,
        token: str | None,
        insecure: bool,
        collection: str | None = None,
    ) -> Connection:
        """InvalidArgumentError: a setting that cannot be. Without a `target`, the environment tells the server."""
        if target is None:
            told = Environment.read(token=token)
            target, token = told.server, told.token
            collection = told.collection if collection is None else collection
            if told.ca is not None and not isinstance(tls, TLS):
                tls = TLS(ca=told.ca)
        target, tls = _without_scheme(target, tls)
        address = Address.parse(target)
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MAX_RETRIES:
            raise InvalidArgumentError(f"retries={retries!r} must be 0 to {MAX_RETRIES}.")
        settings = (tls if isinstance(tls, TLS) else TLS()) if tls else None
        if token is not None:
            _check_token(token)
            if settings is None and not (insecure or address.is_loopback):
                raise InvalidArgumentError(
                    f"The token would cross the network to {target} readable by others; "
                    "use tls, or insecure=True if the network is trusted."
                )
        if collection is not None and not isinstance(collection, str):
            raise InvalidArgumentError(
                f"collection={collection!r} must be the name of one of the server's collections."
            )
        return cls(target, settings, check_timeout(timeout), retries, wait_for_server, token, collection or "")

    def metadata(self, *, needs_admin: bool = False) -> Metadata:
        """What goes with a call: the token, if there is one.

        A call that changes what is served shows, instead of no token, the
        secret of a server on this machine that this user runs.
        """
        token = self._local_secret() if needs_admin and self.token is None else self.token
        return () if token is None else (("authorization", f"Bearer {token}"),)

    def _local_secret(self) -> str | None:
        address = Address.parse(self.target)
        ports = {endpoint.port for endpoint in address.endpoints}
        port = ports.pop() if len(ports) == 1 and address.is_loopback else None
        return None if port is None else local_secret.find(port)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """What a channel with TLS needs, None for one without; InvalidArgumentError: a file that cannot be read."""
        return None if self.tls is None else self.tls.credentials()

    def route(self) -> Route:
        """How the server is reached from here and now, by the variables of the environment."""
        address = Address.parse(self.target)
        proxy = proxy_of(address, os.environ)
        # A proxy cannot reach this machine's own addresses, and gRPC would ask it for them. A name
        # is looked up only where that matters.
        own = address.is_loopback or (proxy is not None and address.is_own)
        return Route(self._options(direct=own), None if own else proxy)

    def attempts(self, timeout: float | None, route: Route, patient: bool) -> Attempts:
        """The attempts of a call that the caller gave `timeout`; only a `patient` one waits for a server to start."""
        # Behind a proxy the one that does not listen may be the proxy.
        waits = patient and self.wait_for_server and self.retries > 0 and route.proxy is None
        return Attempts(self.timeout if timeout is None else check_timeout(timeout), self.retries, waits)

    def _options(self, direct: bool) -> Options:
        """The channel arguments, equal for both kinds of channel; `direct` leaves proxies out."""
        options: Options = [
            # The server's limits hold, which it publishes; gRPC's own 4 MB would
            # refuse replies that the server may send.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", _LONGEST_RECONNECT_MS),
            ("grpc.enable_retries", 1 if self.retries else 0),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
        ]
        if direct:
            options.append(("grpc.enable_http_proxy", 0))
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


def _without_scheme(target: str, tls: bool | TLS) -> tuple[str, bool | TLS]:
    """The address of grpc://HOST:PORT, or of grpcs://HOST:PORT, which means TLS; any other as it is."""
    found = _URL.fullmatch(target) if isinstance(target, str) else None
    if found is None:
        return target, tls
    secure = found[1].lower() == "grpcs"
    if tls and not secure:
        raise InvalidArgumentError(f"{target} is an address without TLS; with tls= write grpcs://{found[2]}.")
    return found[2], tls or secure


def _check_token(token: object) -> None:
    # Nothing of it is shown: errors end in logs.
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise InvalidArgumentError("The token must be what `lookalike token` printed: printable ASCII without spaces.")


def check_timeout(timeout: float | None) -> float | None:
    """The timeout in seconds, None for no limit; InvalidArgumentError when it is not a positive number."""
    if timeout is None or timeout == math.inf:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise InvalidArgumentError(f"timeout={timeout!r} must be a number of seconds above 0.")
    return float(timeout)
