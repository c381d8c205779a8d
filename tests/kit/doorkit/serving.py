"""A gRPC server of some handlers, for as long as a test needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from torpor_provisioner.contract import Address


@asynccontextmanager
async def serving(
    *handlers: grpc.GenericRpcHandler, options: Sequence[tuple[str, Any]] = ()
) -> AsyncIterator[Address]:
    """Serve `handlers` on any free port of this machine: where."""
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Address("127.0.0.1", port)
    await server.stop(None)
