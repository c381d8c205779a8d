"""`/metrics`, `/healthz` and `/readyz` over HTTP, from threads of their own.

Not on the event loop: it has better things to do than to render text, and whether it still runs
is the very thing that `/healthz` tells.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import NamedTuple

from torpor_provisioner.contract import Address

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds for a client to send its request and read its answer


class Answer(NamedTuple):
    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[str], Answer]  # given what the client accepts


class Endpoint:
    """Listens from the time it is made until `close`.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, host: str, port: int, pages: dict[str, Page]) -> None:
        self._server = _server(host, port, pages)
        self._thread = Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Endpoint {self.address}>"

    @property
    def address(self) -> Address:
        host, port = self._server.socket.getsockname()[:2]
        return Address(host, port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the library's
        hung_up = isinstance(sys.exception(), OSError)
        level = logging.DEBUG if hung_up else logging.ERROR
        log.log(level, "a request for metrics failed", exc_info=sys.exception())


def _server(host: str, port: int, pages: dict[str, Page]) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version = "torpor"
        sys_version = ""

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            answer = (
                page(self.headers.get("Accept", ""))
                if page is not None
                else Answer(b"not here\n", HTTPStatus.NOT_FOUND)
            )
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_HEAD = do_GET  # noqa: N815 - the library's

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's
            log.debug(format, *arguments, extra={"peer": self.client_address[0]})

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server((host, port), Handler)
