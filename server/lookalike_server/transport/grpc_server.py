"""gRPC server: port, interceptors, services, and shutdown."""

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
from lookalike_server.transport.streams import StreamSlots
from lookalike_server.transport.tokens import Tokens

# A draining server closes its connections after it has rejected no call for QUIET_S seconds.
QUIET_S = 0.2
# It waits no longer than _REFUSING_S seconds for that, because some callers never stop asking.
_REFUSING_S = 5.0


class GrpcServer:
    """gRPC server. Call `add`, `open`, and `start`; at the end `drain` and `close`.

    `statuses` is the health service. `observed` is the outermost interceptor. `roots` returns the
    folders to hide from callers that see no paths. With `shares_port`, other processes of this
    server listen on the same port, and their parent publishes the secret of `local_user`. `slots`
    are those of long-lived calls.
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
        slots: StreamSlots | None = None,
    ) -> None:
        listen = settings.listen
        self._listen = listen
        self._shares_port = shares_port
        self.statuses = health.aio.HealthServicer()
        self._tokens, self._local_user = tokens, local_user
        self._in_flight = InFlight()
        self._handlers: list[grpc.GenericRpcHandler] = []
        self.admission = Admission(settings.limits, settings.fronts, slots)
        access = Access(tokens, local_user, listen.show_paths, roots)
        self._server = new_server(
            settings.limits,
            settings.connections,
            [observed, SendingPieces(), self._in_flight, Errors(), access, self.admission],
            self._carriable,
            shares_port=shares_port,
        )

    def add(self, servicers: Mapping[str, Any]) -> None:
        """Register a servicer for each service, by full name, and add health and reflection."""
        for service, add in SERVED:
            # Generated code needs only an object that takes handlers.
            add(servicers[service.full_name], cast("grpc.aio.Server", self))
        self._add_others()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Register handlers, also for calls in pieces."""
        self._handlers.extend(handlers)
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_handlers(self, handler_of: Callable[[str], tuple[Call, Callable[[bytes], Any]]]) -> None:
        """Register handlers that return serialized replies, for each method "/package.Service/Method".

        `handler_of` returns the handler, and the function that makes its request from the message's
        bytes.
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
        """Bind the port and return it. Raises IndexerError if the address cannot be bound."""
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
        """Resident bytes of the front processes, by process id. There are none: this process takes the calls."""
        return {}

    async def drain(self, grace: float) -> None:
        """Reject new calls, wait up to `grace` seconds for those in flight, and close all connections."""
        # A stopping gRPC server answers new calls with CANCELLED, which clients do not retry.
        self._in_flight.refuse()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._in_flight.wait_idle()
        # On a busy machine a call takes a while from its socket to the interceptor that rejects it.
        await self._in_flight.wait_quiet(min(grace, QUIET_S), min(grace, _REFUSING_S))
        # No grace here: health watches would use up all of it.
        await self._server.stop(None)

    def close(self) -> None:
        """Stop the threads that read messages, and remove the secret of the local user."""
        self.admission.close()
        if not self._shares_port:
            self._local_user.withdraw()


def _unread(message: bytes) -> bytes:
    return message
