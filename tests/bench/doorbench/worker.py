"""The worker behind every subject: nghttpd, which answers each call with a file."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from doorbench.machine import program

UNARY = "/bench.Worker/Unary"  # 100 octets each way
TYPED = UNARY + ".grpc"  # the same, with the content-type that gRPC libraries insist on
BULK_DOWN = "/bench.Worker/Down"  # 16 MiB towards the client
BULK_UP = "/bench.Worker/Up"  # 16 MiB towards the worker
BULK = 16 << 20


@cache
def folder() -> Path:
    """What nghttpd serves: a gRPC message a method. Lasts as long as the process."""
    root = Path(tempfile.mkdtemp(prefix="doorbench-"))
    (root / "bench.Worker").mkdir()
    for path, size in ((UNARY, 95), (TYPED, 95), (BULK_DOWN, BULK - 5), (BULK_UP, 0)):
        message = b"\x00" + size.to_bytes(4, "big") + bytes(size)
        (root / path[1:]).write_bytes(message)
    (root / "types").write_text("application/grpc grpc\n")
    return root


def message_file(path: str) -> Path:
    return folder() / path[1:]


def command(port: str, *, tls: tuple[Path, Path] | None = None) -> list[str]:
    """`tls`: key and certificate."""
    options = ["-a", "127.0.0.1", "-d", str(folder()), "--trailer=grpc-status: 0"]
    options.append(f"--mime-types-file={folder() / 'types'}")
    windows = ["-w", "24", "-W", "26", "-m", "1000"]
    last = [port, *map(str, tls)] if tls else ["--no-tls", port]
    return [program("nghttpd", "nghttp2-server"), *options, *windows, *last]
