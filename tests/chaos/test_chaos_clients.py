"""Clients tell a call that nobody took up from one that a node broke, in gRPC's own words."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from chaoskit.clients import Client
from chaoskit.records import Records

from torpor_router.h2 import wire

STREAM = 1  # the first that a client opens


@pytest.mark.parametrize(("last", "turned_away"), [(0, True), (STREAM, False)])
async def test_a_connection_that_ends_in_order(last: int, turned_away: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.settings(()))
        seen = b""
        while b"chaos-call" not in seen:
            if not (octets := await reader.read(65_536)):
                return
            seen += octets
        writer.write(wire.goaway(last, wire.ErrorCode.NO_ERROR, "asleep since"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        node: Any = SimpleNamespace(number=0, target=f"127.0.0.1:{port}")
        records = Records()
        client = Client("m-0000", (), [node], random.Random(1), records, budget=0.2)
        await client.unary(0.0)
        await client.aclose()
    [request] = records.requests
    assert not request.done
    assert {attempt.turned_away for attempt in request.attempts} == {turned_away}
    assert {attempt.status for attempt in request.attempts} == {"UNAVAILABLE"}


def test_clients_processes_fork_without_grpc() -> None:
    """A run starts servers all the time; a fork that goes on with gRPC loses clients' messages."""
    ordered = "[each for each in sys.modules if each in ('grpc', 'torpor_router')]"
    told = f"import sys, chaoskit.clients; print({ordered})"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    path.pop("GRPC_ENABLE_FORK_SUPPORT", None)
    words = [sys.executable, "-c", told]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=path)
    assert done.stdout == "['torpor_router', 'grpc']\n"
