"""Connection settings of a client: address, TLS, token, proxy, retries, channel arguments."""

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

# gRPC retries a call transparently if the server never saw it, for example if it closed an old connection.
# gRPC buffers the call's bytes for this only up to this size; its default of 256 KiB is less than one image.
_RETRY_BUFFER_BYTES = 256 << 20
# A server may reject pings that come more often than every 5 minutes, gRPC's default minimum. Keepalive also makes
# a dead connection fail after the 20 s below instead of TCP's timeout of many minutes.
_KEEPALIVE_MS = 330_000
_KEEPALIVE_TIMEOUT_MS = 20_000
# Reconnect backoff. gRPC's default maximum is two minutes, too long for a server that has just started.
_FIRST_RECONNECT_MS = 100
_LONGEST_RECONNECT_MS = 2_000
MAX_RETRIES = 4

_URL = re.compile(r"(grpcs?)://([^/]*)/?", re.IGNORECASE)
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")

Options = list[tuple[str, Any]]
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TLS:
    """TLS settings: the trusted certificates, and the client certificate for mutual TLS.

    - `ca`: the trusted root certificates, as the path of a PEM file or its bytes; None for those that gRPC ships.
    - `cert`: path or bytes of the client's certificate, for servers that require one.
    - `key`: path or bytes of the private key of `cert`.
    - `server_name`: the name in the server's certificate, if it differs from the address.

    Raises InvalidArgumentError if only one of `cert` and `key` is given. The files are read when the client connects.

    >>> tls = lookalike.TLS(ca="ca.pem")  # doctest: +SKIP
    """

    ca: str | os.PathLike[str] | bytes | None = None
    cert: str | os.PathLike[str] | bytes | None = None
    key: str | os.PathLike[str] | bytes | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidArgumentError("TLS needs cert and key together: the client's certificate and its private key.")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; raise InvalidArgumentError if one cannot be read."""
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
    """Channel arguments, and the proxy between client and server; None without a proxy."""

    options: Options
    proxy: Proxy | None


@dataclass(frozen=True)
class Connection:
    """All settings of a client; pickled copies in other processes are made from them.

    `timeout` is in seconds; None waits without a limit.
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
        """Validate the settings; raise InvalidArgumentError. Without a `target`, use the environment's."""
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
        """Return the metadata of a call: the token, if there is one.

        A call that changes what is served and has no token sends the secret of a server
        that this user runs on this machine.
        """
        token = self._local_secret() if needs_admin and self.token is None else self.token
        return () if token is None else (("authorization", f"Bearer {token}"),)

    def _local_secret(self) -> str | None:
        address = Address.parse(self.target)
        ports = {endpoint.port for endpoint in address.endpoints}
        port = ports.pop() if len(ports) == 1 and address.is_loopback else None
        return None if port is None else local_secret.find(port)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return the credentials of a TLS channel, None without TLS. InvalidArgumentError: a file cannot be read."""
        return None if self.tls is None else self.tls.credentials()

    def route(self) -> Route:
        """Return the channel arguments and the proxy for the current environment variables."""
        address = Address.parse(self.target)
        proxy = proxy_of(address, os.environ)
        # A proxy cannot reach this machine's own addresses, but gRPC would send their calls through it. Names are
        # looked up only where a proxy is set.
        own = address.is_loopback or (proxy is not None and address.is_own)
        return Route(self._options(direct=own), None if own else proxy)

    def attempts(self, timeout: float | None, route: Route, patient: bool) -> Attempts:
        """Return the attempts of a call with `timeout`; only a `patient` call waits for a server to start."""
        # With a proxy, it may be the proxy that does not listen.
        waits = patient and self.wait_for_server and self.retries > 0 and route.proxy is None
        return Attempts(self.timeout if timeout is None else check_timeout(timeout), self.retries, waits)

    def _options(self, direct: bool) -> Options:
        """Return the channel arguments for both kinds of channel; `direct` disables proxies."""
        options: Options = [
            # The server publishes and enforces its limits; gRPC's default of 4 MB would reject valid replies.
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
    """Return the address of grpc://HOST:PORT, or of grpcs://HOST:PORT, which means TLS; other targets unchanged."""
    found = _URL.fullmatch(target) if isinstance(target, str) else None
    if found is None:
        return target, tls
    secure = found[1].lower() == "grpcs"
    if tls and not secure:
        raise InvalidArgumentError(f"{target} is an address without TLS; with tls= write grpcs://{found[2]}.")
    return found[2], tls or secure


def _check_token(token: object) -> None:
    # The error must not show the token: errors end up in logs.
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise InvalidArgumentError("The token must be what `lookalike token` printed: printable ASCII without spaces.")


def check_timeout(timeout: float | None) -> float | None:
    """Return the timeout in seconds, None for no limit; raise InvalidArgumentError if it is not a positive number."""
    if timeout is None or timeout == math.inf:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise InvalidArgumentError(f"timeout={timeout!r} must be a number of seconds above 0.")
    return float(timeout)
