"""How a client reaches its server: address, TLS, retries, limits."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from lookalike import local_secret
from lookalike._errors import InvalidArgumentError

# gRPC keeps a call's bytes for the case of a retry only up to this size, and
# would silently not retry a larger call; its own default is 256 KiB, less than
# one photograph.
_RETRY_BUFFER_BYTES = 256 << 20
# A server may refuse pings that come more often than every 5 minutes, which is
# gRPC's default. That keepalive is set at all also makes a dead connection
# fail after the 20 s below, instead of the many minutes of TCP's own limits.
_KEEPALIVE_MS = 330_000
_KEEPALIVE_TIMEOUT_MS = 20_000
# gRPC takes five attempts at the most, whatever is asked.
MAX_RETRIES = 4

# gRPC would take these for the names of hosts.
_URLS = ("http://", "https://", "grpc://", "grpcs://")

# Not every name that begins with 127 is an address.
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\]):\d+")
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")

Options = list[tuple[str, Any]]


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
    key: str | os.PathLike[str] | bytes | None = None
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
class Connection:
    """Everything that a channel is made of. `timeout` is in seconds; None waits without an end."""

    target: str
    tls: TLS | None
    timeout: float | None
    retries: int
    token: str | None = field(default=None, repr=False)

    @classmethod
    def checked(
        cls,
        target: str,
        tls: bool | TLS,
        timeout: float | None,
        retries: int,
        token: str | None = None,
        insecure: bool = False,
    ) -> Connection:
        """InvalidArgumentError: a setting that cannot be."""
        if not isinstance(target, str) or ":" not in target or target.startswith(_URLS):
            raise InvalidArgumentError(f"The server's address is {target!r}; it must be like '127.0.0.1:50051'.")
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MAX_RETRIES:
            raise InvalidArgumentError(f"retries={retries!r} must be 0 to {MAX_RETRIES}.")
        settings = (tls if isinstance(tls, TLS) else TLS()) if tls else None
        if token is not None:
            _check_token(token)
            if settings is None and not (insecure or _is_loopback(target)):
                raise InvalidArgumentError(
                    f"The token would cross the network to {target} readable by others; "
                    "use tls, or insecure=True if the network is trusted."
                )
        return cls(target, settings, check_timeout(timeout), retries, token)

    def metadata(self, *, needs_admin: bool = False) -> tuple[tuple[str, str], ...]:
        """What goes with a call: the token, if there is one.

        A call that changes what is served shows, instead of no token, the
        secret of a server on this machine that this user runs.
        """
        token = self._local_secret() if needs_admin and self.token is None else self.token
        return () if token is None else (("authorization", f"Bearer {token}"),)

    def _local_secret(self) -> str | None:
        port = self.target.rpartition(":")[2]
        return local_secret.find(int(port)) if _is_loopback(self.target) and port.isdecimal() else None

    def deadline(self, timeout: float | None) -> float | None:
        """The seconds that a call may take, when the caller gave `timeout`; None for no limit."""
        return self.timeout if timeout is None else check_timeout(timeout)

    def options(self) -> Options:
        """The channel arguments, equal for both kinds of channel."""
        options: Options = [
            # The server's limits hold, which it publishes; gRPC's own 4 MB would
            # refuse replies that the server may send.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ]
        if self.retries:
            options += [
                ("grpc.enable_retries", 1),
                ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
                ("grpc.service_config", _service_config(self.retries)),
            ]
        else:
            options.append(("grpc.enable_retries", 0))
        if _is_loopback(self.target):
            # A proxy set for the machine does not reach the machine's own loopback.
            options.append(("grpc.enable_http_proxy", 0))
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


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


def _service_config(retries: int) -> str:
    """The retry policy that gRPC itself follows, for every method: they all only read."""
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})


def _is_loopback(target: str) -> bool:
    return _LOOPBACK.fullmatch(target) is not None
