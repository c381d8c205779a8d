"""Says which machine and which boot answers at each machine's address, as a satellite does.

See `torpor_provisioner.identity` for the line. A boot id lasts while memory is kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from dataclasses import dataclass, field
from uuid import uuid4

from torpor_provisioner import identity
from torpor_provisioner.faithful_ec2.machine import Order

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Boot:
    launch_token: str
    boot_id: str = field(default_factory=lambda: str(uuid4()))
    begun: float = field(default_factory=time.monotonic)
    server: asyncio.Server | None = None  # while it runs

    def line(self) -> bytes:
        identity = {
            "boot_id": self.boot_id,
            "launch_token": self.launch_token,
            "uptime": round(time.monotonic() - self.begun, 2),
        }
        return json.dumps(identity).encode() + b"\n"


class Identities:
    """A listener for each machine that runs, all in one thread of their own."""

    def __init__(self, port: int = identity.PORT) -> None:
        self._port = port
        self._boots: dict[str, _Boot] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faithful-identities", daemon=True)
        self._thread.start()

    def order(self, instance: str, address: str, order: Order, launch_token: str) -> None:
        """Tell, or tell no more, as of what the worker is ordered to do."""
        carried_out = self._carry_out(instance, address, order, launch_token)
        asyncio.run_coroutine_threadsafe(carried_out, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for boot in self._boots.values():
            if boot.server is not None:
                boot.server.close()
        self._loop.close()

    async def _carry_out(
        self, instance: str, address: str, order: Order, launch_token: str
    ) -> None:
        if order is Order.BOOT:
            self._boots[instance] = _Boot(launch_token)
        boot = self._boots.get(instance)
        if boot is None:
            return
        if order in {Order.BOOT, Order.THAW}:
            await self._listen(boot, address)
        elif boot.server is not None:
            boot.server.close()
            boot.server = None

    async def _listen(self, boot: _Boot, address: str) -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(boot.line())
            writer.close()

        try:
            boot.server = await asyncio.start_server(answer, address, self._port)
        except OSError as error:  # a machine that says nothing is as good as before
            logger.warning("nobody tells who answers at %s: %s", address, error)
