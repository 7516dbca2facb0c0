"""The gRPC server: a port, what every call passes through, the services, and the end of it all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lookalike_server.common.settings import ServeSettings
from lookalike_server.common.visible import Roots
from lookalike_server.transport.access import Access
from lookalike_server.transport.admission import Admission
from lookalike_server.transport.carried import CallDetails
from lookalike_server.transport.interceptors import Call, Errors, Handler, InFlight, SendingPieces
from lookalike_server.transport.listen import new_server, open_port
from lookalike_server.transport.local_user import LocalUser
from lookalike_server.transport.service_table import SERVED, SERVICES
from lookalike_server.transport.streams import StreamPlaces
from lookalike_server.transport.tokens import Tokens

# The server closes its connections once it refused no call for this long,
QUIET_S = 0.2
# or has waited for that for this long, since some callers never stop asking.
_REFUSING_S = 5.0


class GrpcServer:
    """Answers calls by servicers: `add` them, `open` the port, `start`; at the end `drain` and `close`.

    `statuses` is what callers are told of health.

    `observed` is the outermost interceptor; `roots` gives the folders that
    callers who see no paths must not be told of. With `shares_port`, other
    processes of this server listen on the same port, and whoever started them
    publishes the secret of `local_user`; `places` are those of calls that last.
    """

    def __init__(
        self,
        settings: ServeSettings,
        observed: grpc.aio.ServerInterceptor,
        roots: Roots,
        tokens: Tokens | None,
        local_user: LocalUser,
        *,
        shares_port: bool = False,
        places: StreamPlaces | None = None,
    ) -> None:
        listen = settings.listen
        self._listen = listen
        self._shares_port = shares_port
        self.statuses = health.aio.HealthServicer()
        self._tokens, self._local_user = tokens, local_user
        self._in_flight = InFlight()
        self._handlers: list[grpc.GenericRpcHandler] = []
        self.admission = Admission(settings.limits, settings.fronts, places)
        access = Access(tokens, local_user, listen.show_paths, roots)
        self._server = new_server(
            settings.limits,
            settings.connections,
            [observed, SendingPieces(), self._in_flight, Errors(), access, self.admission],
            self._carriable,
            shares_port=shares_port,
        )

    def add(self, servicers: Mapping[str, Any]) -> None:
        """Answer calls of each service by the servicer of its full name, and tell of them as far as was asked for."""
        for service, add in SERVED:
            # All that generated code asks of a server is that it takes handlers.
            add(servicers[service.full_name], cast("grpc.aio.Server", self))
        self._add_others()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Answer calls by these, also calls in pieces."""
        self._handlers.extend(handlers)
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_handlers(self, handler_of: Callable[[str], tuple[Call, Callable[[bytes], Any]]]) -> None:
        """Answer calls of each method, "/package.Service/Method", by what returns the bytes of replies.

        `handler_of` gives it, and what makes of the bytes of a message what it takes.
        """
        for service, _ in SERVED:
            handlers: dict[str, Handler] = {}
            for method in service.methods:
                call, parse = handler_of(f"/{service.full_name}/{method.name}")
                # gRPC's types know the handlers of the synchronous server only.
                handler: Any = call
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(handler, parse, _unread)
            self.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
        self._add_others()

    def _add_others(self) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self.statuses, self._server)
        if self._listen.reflection:
            reflection.enable_server_reflection([*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)

    def _carriable(self, details: CallDetails) -> Handler | None:
        asked = cast("grpc.HandlerCallDetails", details)
        found = (one.service(asked) for one in self._handlers)
        return next((handler for handler in found if handler is not None), None)

    def open(self) -> int:
        """Bind the port, and return it. IndexerError: the address cannot be bound."""
        port = open_port(self._server, self._listen, shares_port=self._shares_port)
        if self._tokens is None and not self._shares_port:
            self._local_user.publish(port)
        return port

    async def start(self) -> None:
        await self._server.start()

    @property
    def calls_in_flight(self) -> int:
        return self._in_flight.count

    @property
    def resident_bytes(self) -> Mapping[int, int]:
        """The resident memory of fronts, which are none: this process takes the calls in."""
        return {}

    async def drain(self, grace: float) -> None:
        """Refuse new calls, let those in flight end for up to `grace` seconds, and close all connections."""
        # gRPC itself answers what still arrives while it stops with CANCELLED, which nobody sends again.
        self._in_flight.refuse()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._in_flight.wait_idle()
        # On a busy machine a call takes a while from its socket to the interceptor that refuses it.
        await self._in_flight.wait_quiet(min(grace, QUIET_S), min(grace, _REFUSING_S))
        # At once: those who watch the health would hold the server for all of the grace.
        await self._server.stop(None)

    def close(self) -> None:
        """End the threads that read messages, and take back what tells this user's commands from others."""
        self.admission.close()
        if not self._shares_port:
            self._local_user.withdraw()


def _unread(message: bytes) -> bytes:
    return message
