"""The part of EC2 that a machine asks by itself: its metadata service, and its clock."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

METADATA, CLOCK = "169.254.169.254", "169.254.169.123"
MACHINE = "10.87.0.20"
ROUTER = "10.87.0.1"
MAC = "02:00:0a:57:00:14"
EPOCH = 2_208_988_800  # seconds from 1900, where NTP begins, to 1970
TREE: dict[str, Any] = {
    "ami-id": "ami-0123456789abcdef0",
    "hostname": "satellite",
    "instance-id": "i-0123456789abcdef0",
    "instance-type": "m7i.large",
    "local-hostname": "satellite",
    "local-ipv4": MACHINE,
    "mac": MAC,
    "network": {"interfaces": {"macs": {MAC: {"device-number": "0", "local-ipv4s": MACHINE}}}},
    "placement": {"availability-zone": "eu-west-1a", "region": "eu-west-1"},
    "reservation-id": "r-0123456789abcdef0",
    "security-groups": "satellites",
}
DOCUMENT = {"instanceId": TREE["instance-id"], "region": "eu-west-1", "accountId": "123456789012"}


@contextmanager
def serving(user_data: bytes) -> Iterator[None]:
    """Both, on their addresses, which must be this network's own."""
    tree = {
        "meta-data": TREE,
        "user-data": user_data,
        "dynamic": {"instance-identity": {"document": json.dumps(DOCUMENT)}},
    }

    class Metadata(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._answer("session")

        def do_GET(self) -> None:
            _, _version, *path = self.path.split("/")
            found: Any = tree
            for part in filter(None, path):
                found = found.get(part) if isinstance(found, dict) else None
            if isinstance(found, dict):
                names = (f"{k}/" if isinstance(v, dict) else k for k, v in found.items())
                found = "\n".join(names)
            self._answer(found)

        def _answer(self, found: str | bytes | None) -> None:
            told = found if isinstance(found, bytes) else (found or "").encode()
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(told)))
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            """Not to the tests' output."""

    metadata = ThreadingHTTPServer((METADATA, 80), Metadata)
    clock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    clock.bind((CLOCK, 123))
    for serve in (metadata.serve_forever, lambda: _tell_time(clock)):
        threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        metadata.shutdown()
        metadata.server_close()
        clock.close()


def _tell_time(clock: socket.socket) -> None:
    """SNTP (RFC 4330): a server of stratum 1 that has just been set."""
    while True:
        try:
            asked, client = clock.recvfrom(128)
        except OSError:  # closed
            return
        now = _stamp(time.time())
        head = struct.pack("!BBbbII4s", 0b00_100_100, 1, 4, -20, 0, 16, b"EC2\0")
        clock.sendto(head + now + asked[40:48] + now + _stamp(time.time()), client)


def _stamp(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("!II", whole + EPOCH, int((seconds - whole) * (1 << 32)))
