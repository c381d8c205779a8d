"""grpc.health.v1, whose watchers do not keep a draining router waiting."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1 import health, health_pb2

from torpor_router.control.edge import refuse
from torpor_router.errors import Draining


class Health(health.aio.HealthServicer):
    """Ends each `Watch` when `closing` is set; its client asks again, and another router then."""

    def __init__(self, closing: asyncio.Event) -> None:
        super().__init__()
        self._closing = closing

    async def Watch(  # noqa: N802 - the RPC's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        watching = asyncio.ensure_future(super().Watch(request, context))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({watching, closing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching  # it ends by failing alone
        finally:
            for task in (watching, closing):
                task.cancel()
            await asyncio.gather(watching, closing, return_exceptions=True)
        await refuse(context, Draining())
