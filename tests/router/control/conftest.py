"""A control server over an fake fleet, and channels to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from controlkit.fakes import FakeCallers, FakeFleet
from waiting import LONG

from torpor_provisioner.contract import Address
from torpor_router.control.server import ControlServer
from torpor_router.control.v1 import torpor_pb2_grpc as rpc
from torpor_statemachine.lifecycle.satellite import Satellite

FAST = 0.05  # seconds between two beats


@dataclass
class Control:
    fleet: FakeFleet
    callers: FakeCallers
    server: ControlServer
    channel: grpc.aio.Channel
    token: tuple[tuple[str, str], ...] = field(default=(("authorization", "Bearer acme"),))

    @property
    def stub(self) -> Any:
        return rpc.SatellitesStub(self.channel)

    async def refused(self, method: str, request: Any, **options: Any) -> grpc.aio.AioRpcError:
        """The error that a call ends with."""
        options = {"metadata": self.token, "timeout": LONG, **options}
        call = getattr(self.stub, method)(request, **options)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await (_end_of(call) if method in ("Wake", "Sleep", "Follow") else call)
        return failed.value


async def _end_of(call: Any) -> None:
    async for _ in call:
        pass


def code_of(error: grpc.aio.AioRpcError) -> str:
    """The code in the trailing metadata, which is also the message's first word."""
    code = dict(error.trailing_metadata() or ()).get("x-torpor-code", "")
    assert (error.details() or "").startswith(f"{code} "), error.details()
    return str(code)


@pytest.fixture
async def control() -> AsyncIterator[Callable[..., Awaitable[Control]]]:
    """Serve these satellites."""
    async with AsyncExitStack() as stack:

        async def make(*satellites: Satellite, by_itself: bool = False, **options: Any) -> Control:
            fleet = FakeFleet(*satellites, by_itself=by_itself)
            stack.push_async_callback(fleet.aclose)
            callers = FakeCallers()
            server = ControlServer(fleet, callers, **{"beat": FAST, **options})
            stack.push_async_callback(server.aclose)
            bound = await server.start(Address("127.0.0.1", 0))
            assert isinstance(bound, Address)
            channel = await stack.enter_async_context(
                grpc.aio.insecure_channel(f"{bound.host}:{bound.port}")
            )
            return Control(fleet, callers, server, channel)

        yield make


@pytest.fixture
def code() -> Callable[[grpc.aio.AioRpcError], str]:
    return code_of
