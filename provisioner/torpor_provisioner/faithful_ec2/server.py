"""The faithful EC2 as a server, in a thread of this process."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from werkzeug.serving import WSGIRequestHandler, make_server

from torpor_provisioner.faithful_ec2.front import Front
from torpor_provisioner.faithful_ec2.timing import Clock, Timing
from torpor_provisioner.faithful_ec2.workers import NoWorkers, Workers

HOST = "127.0.0.1"


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as AWS keeps them

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        """The log of calls tells more."""


class FaithfulEc2:
    """Listens from `start` to `stop`; moto's records are the process's, so one at a time."""

    def __init__(
        self,
        *,
        port: int = 0,
        speed: float = 1.0,
        timing: Timing | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._workers = workers or NoWorkers()
        self.front = Front(Clock(speed), timing or Timing(), self._workers)
        self._server = make_server(HOST, port, self.front, threaded=True, request_handler=_Handler)
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._server.serve_forever, name="faithful-server"),
            threading.Thread(target=self._tick, name="faithful-clock"),
        ]

    def __repr__(self) -> str:
        return f"<FaithfulEc2 {self.endpoint} {self.front!r}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self._server.server_port}"

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop listening, and end the workers."""
        with self.front.moved:
            self._stopping = True
            self.front.moved.notify_all()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()
        self._workers.close()

    def _tick(self) -> None:
        """Take each step when it is due, also while nobody asks: the workers wait for it."""
        with self.front.moved:
            while not self._stopping:
                self.front.moved.wait(self.front.world.advance())
