"""The node's own gRPC server: torpor.v1, health and reflection, behind the door."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from torpor_provisioner.contract import Address
from torpor_router.control import reflection
from torpor_router.control.access_calls import AccessCalls
from torpor_router.control.adapter import (
    ACCESS,
    CALLS,
    OPERATORS,
    SATELLITES,
    USAGE,
    WEBHOOKS,
    GrpcAdapter,
)
from torpor_router.control.calls import WATCHERS, Calls
from torpor_router.control.following import BEAT
from torpor_router.control.operator_calls import OperatorCalls
from torpor_router.control.ports import Audit, Callers, Fleet, Observer, Unaudited, Unobserved
from torpor_router.control.refusals import Refusals
from torpor_router.control.unauthenticated import AT_A_TIME as UNAUTHENTICATED
from torpor_router.control.unauthenticated import LIFE, Unauthenticated
from torpor_router.control.usage_calls import UsageCalls
from torpor_router.control.webhook_calls import WebhookCalls
from torpor_router.dialects.bazel import Capabilities
from torpor_router.dialects.ended import Ended
from torpor_router.dialects.last_answers import LastAnswers
from torpor_router.dialects.looks import Looks
from torpor_router.dialects.thanks import Thanks
from torpor_router.names import written_address

logger = logging.getLogger(__name__)

LONGEST_PATH = 100  # octets; the kernel takes 107 for a socket's path, and macOS 103
LAST_WORDS = 1.0  # seconds for telling those who watch that it ends
_OPTIONS = (
    # above our own limits, which have codes (`adapter.LONGEST_MESSAGE`, `targets.NODE_METADATA`)
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 24 * 1024),
    ("grpc.absolute_max_metadata_size", 24 * 1024),
    ("grpc.max_concurrent_streams", 1_000),  # a connection; the door pairs each with a client's
    ("grpc.so_reuseport", 0),
)


class ControlServer:
    """Serves one node's control API on the running loop.

    It speaks plaintext, so it listens where only this machine's door can reach it: on a socket in
    a private folder, or on a loopback address.
    """

    def __init__(
        self,
        fleet: Fleet,
        callers: Callers,
        *,
        default_provisioner: str = "local",
        beat: float = BEAT,
        watchers: int = WATCHERS,
        most_calls: int = CALLS,
        most_unauthenticated: int = UNAUTHENTICATED,
        unauthenticated_life: float = LIFE,
        access: AccessCalls | None = None,
        usage: UsageCalls | None = None,
        webhooks: WebhookCalls | None = None,
        operators: OperatorCalls | None = None,
        audit: Audit | None = None,
        observer: Observer | None = None,
        answers: LastAnswers | None = None,
    ) -> None:
        refusals = Refusals(Unobserved() if observer is None else observer)
        self._closing = asyncio.Event()
        self._calls = Calls(
            fleet,
            default_provisioner=default_provisioner,
            stop=self._closing,
            beat=beat,
            watchers=watchers,
        )
        self._access = access
        self._usage = usage
        self._webhooks = webhooks
        self._operators = operators
        self._adapter = GrpcAdapter(
            callers, refusals, audit or Unaudited(), self._closing, most=most_calls
        )
        self._unauthenticated = Unauthenticated(
            refusals, self._closing, most=most_unauthenticated, life=unauthenticated_life
        )
        self._looks = [Looks(answers)] if answers is not None else []
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._socket: Path | None = None

    def __repr__(self) -> str:
        state = "closing" if self._closing.is_set() else "serving" if self._server else "not begun"
        return f"<ControlServer {state}, {len(self._adapter.open)} calls under way>"

    async def start(self, where: Path | Address) -> Path | Address:
        """Listen on a socket (what lies at its path is replaced) or an address; where it listens.

        Port 0 asks for any free port.

        Raises:
            OSError: it cannot be listened there.
            ValueError: the path is too long for a socket.
        """
        server = grpc.aio.server(options=_OPTIONS, interceptors=[self._unauthenticated])
        services = [SATELLITES]
        handlers = [self._adapter.handlers(SATELLITES, self._calls)]
        handlers += [Capabilities(), Thanks(), Ended()]
        handlers += self._looks
        if self._access is not None:
            services.append(ACCESS)
            handlers.append(self._adapter.handlers(ACCESS, self._access))
        if self._usage is not None:
            services.append(USAGE)
            handlers.append(self._adapter.handlers(USAGE, self._usage))
        if self._webhooks is not None:
            services.append(WEBHOOKS)
            handlers.append(self._adapter.handlers(WEBHOOKS, self._webhooks))
        if self._operators is not None:
            services.append(OPERATORS)
            handlers.append(self._adapter.handlers(OPERATORS, self._operators))
        server.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [service.full_name for service in services]
        reflection.enable(server, (*names, health.SERVICE_NAME))
        for name in names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        bound = self._bind(server, where)
        await server.start()
        self._server = server
        return bound

    def _bind(self, server: grpc.aio.Server, where: Path | Address) -> Path | Address:
        if isinstance(where, Path) and len(bytes(where.absolute())) > LONGEST_PATH:
            raise ValueError(f"the socket's path is longer than {LONGEST_PATH} octets: {where}")
        try:
            if isinstance(where, Path):
                server.add_insecure_port(f"unix:{where.absolute()}")
                where.chmod(0o600)
                self._socket = where
                return where
            return where._replace(port=server.add_insecure_port(written_address(where)))
        except RuntimeError as error:  # grpc's own word for an address that cannot be bound
            raise OSError(f"cannot listen on {where}") from error

    async def quiet(self) -> None:
        """Wait until no call is under way."""
        await self._adapter.open.over()

    async def drain(self, limit: float) -> None:
        """Take no new call, and wait for `limit` seconds at most until those under way have ended.

        Health turns to NOT_SERVING; calls that watch a satellite are sent to another router. To be
        called beside the door's own `drain`, whose clients' calls it ends.
        """
        self._closing.set()
        await self._health.enter_graceful_shutdown()
        try:
            async with asyncio.timeout(limit):
                await self.quiet()
        except TimeoutError:
            logger.warning("draining: %d control calls were still open", len(self._adapter.open))

    async def aclose(self) -> None:
        """End what is under way; changes that were accepted are carried through first."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self.quiet()
                await self._unauthenticated.open.over()
        await self._calls.detached.finish()
        await self._adapter.detached.finish()
        if self._operators is not None:
            await self._operators.detached.finish()
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
            self._socket = None
