"""What Envoy asks about every stream: a Python gRPC server, as small as it can be.

It does what a door must at the least: look the token up by its hash, see that it is good for
the satellite named, strip it, and hold the answer while the satellite sleeps (while the file
given as second argument exists).
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop
from doorbench.subject import LOOK, PATIENT, SATELLITE, TOKEN

protos: Any
services: Any
protos, services = grpc.protos_and_services("doorbench/ext_authz.proto")

_KNOWN = {hashlib.sha256(TOKEN.encode()).digest(): SATELLITE}
_DENIED = protos.CheckResponse(status=protos.Status(code=16, message="unknown token"))


class Authorization(services.AuthorizationServicer):  # type: ignore[misc]  # made at run time
    def __init__(self, asleep: Path) -> None:
        self._awake = asyncio.Event()
        self._asleep = asleep
        self._ok = protos.CheckResponse(
            ok_response=protos.OkHttpResponse(headers_to_remove=["authorization", "satellite"])
        )

    async def watch(self) -> None:
        while True:
            if self._asleep.exists():
                self._awake.clear()
            else:
                self._awake.set()
            await asyncio.sleep(LOOK)

    async def Check(self, request: Any, context: object) -> Any:  # noqa: N802 - gRPC's name
        headers = request.attributes.request.http.headers
        token = headers["authorization"].removeprefix("Bearer ")
        satellite = _KNOWN.get(hashlib.sha256(token.encode()).digest())
        if satellite is None or satellite != headers["satellite"]:
            return _DENIED
        if not self._awake.is_set():
            await self._awake.wait()
        return self._ok


async def main(port: int, asleep: Path) -> None:
    servicer = Authorization(asleep)
    server = grpc.aio.server(options=PATIENT)
    services.add_AuthorizationServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await servicer.watch()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))
