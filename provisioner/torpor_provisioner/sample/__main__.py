"""`python -m torpor_provisioner.sample`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from urllib.parse import quote

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from torpor_provisioner.sample.memory import Memory
from torpor_provisioner.sample.service import Builder
from torpor_provisioner.sample.v1 import builder_pb2 as pb
from torpor_provisioner.sample.v1 import builder_pb2_grpc as rpc

SERVICE = pb.DESCRIPTOR.services_by_name["Builder"].full_name
UNIX = "unix:"
GRACE = 1.0  # seconds for open builds once told to stop


async def serve(where: str, data: Path, max_bytes: int) -> None:
    """Serve at `where`, a gRPC address: ``host:port`` or ``unix:/path``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Without SO_REUSEPORT a second worker on the port fails, rather than taking half the builds.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    rpc.add_BuilderServicer_to_server(Builder(Memory(data), max_bytes=max_bytes), server)
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port(where)
    for name in ("", *names):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    address = where if where.startswith(UNIX) else f"{where.rpartition(':')[0]}:{port}"
    print(f"sample worker on {address}, data in {data}", flush=True)  # noqa: T201 - its log
    await stop.wait()
    await checks.enter_graceful_shutdown()
    await server.stop(GRACE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m torpor_provisioner.sample")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="Unix socket to listen on")
    where.add_argument("--port", type=int, help="0: any free port, printed")
    parser.add_argument("--host", default="127.0.0.1", help="address of the port")
    parser.add_argument("--data", type=Path, required=True, help="folder for cache and workspaces")
    parser.add_argument(
        "--max-bytes", type=int, default=1 << 30, help="largest source archive, packed or not"
    )
    options = parser.parse_args()
    at = f"{options.host}:{options.port}"
    if options.socket is not None:
        at = UNIX + quote(str(options.socket))  # gRPC takes it for a URI
    asyncio.run(serve(at, options.data, options.max_bytes))


if __name__ == "__main__":
    main()
