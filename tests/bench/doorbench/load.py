"""h2load: what it is asked to do, and what it says.

Every request is a whole gRPC call: POST, one message, and an answer of one message (a file of
the worker's) with a `grpc-status` trailer. nghttpd's `--echo-upload` is not used: it writes each
request to a temporary file, which alone keeps the load's core from more than some 25,000 calls a
second, below what the proxies reach.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from doorbench.machine import pinned, program
from doorbench.worker import BULK, BULK_DOWN, BULK_UP, UNARY, message_file

CONNECTIONS = 4
PATHS = 20_000
CIPHER = "--tls13-ciphers=TLS_AES_128_GCM_SHA256"  # the same for every subject

_DONE = re.compile(r"finished in ([\d.]+)(m?s|us)?, ([\d.]+) req/s")
_REQUESTS = re.compile(r"requests: (\d+) total.*?(\d+) succeeded, (\d+) failed, (\d+) errored")
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, None: 1.0}


class LoadFailed(Exception):
    """Requests failed, or h2load did not finish: a rate from that says nothing."""


@dataclass(frozen=True)
class Target:
    """Where a subject is reached, and what its requests must carry."""

    port: int
    tls_port: int | None = None
    headers: Mapping[str, str] | None = None

    def url(self, path: str, *, tls: bool = False) -> str:
        if not tls:
            return f"http://127.0.0.1:{self.port}{path}"
        assert self.tls_port is not None
        return f"https://localhost:{self.tls_port}{path}"

    def fields(self) -> list[tuple[str, str]]:
        return [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *(self.headers or {}).items(),
        ]


@dataclass(frozen=True)
class Latency:
    """Seconds."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Load:
    """Runs h2load on one core, with its files in `folder`."""

    core: int
    folder: Path

    def unary(self, target: Target, requests: int, streams: int = 25) -> float:
        """Calls a second, as many as go through."""
        said = self._run(target, UNARY, *_call(UNARY), *_shape(requests, streams))
        return requests / _seconds(said)

    def different(self, target: Target, calls: int, connections: int, streams: int) -> float:
        """Calls a second, of 20,000 different paths."""
        paths = self.folder / f"paths-{target.port}"
        if not paths.exists():
            lines = [target.url(f"{UNARY}?{number}") for number in range(PATHS)]
            paths.write_text("\n".join(lines) + "\n")
        shape = "-n", str(calls), "-c", str(connections), "-m", str(streams)
        said = self._run(target, None, *_call(UNARY), *shape, f"--input-file={paths}")
        return calls / _seconds(said)

    def paced(self, target: Target, rate: int, seconds: float) -> Latency:
        """How long calls take at a fixed rate, from their start to their trailers."""
        log = self.folder / "paced.log"
        log.unlink(missing_ok=True)
        options = f"--rps={rate // CONNECTIONS}", f"--log-file={log}"
        self._run(target, UNARY, *_call(UNARY), *_shape(int(rate * seconds), 100), *options)
        return percentiles([int(line.split()[2]) / 1e6 for line in log.read_text().splitlines()])

    def down(self, target: Target, calls: int, *, tls: bool = False) -> float:
        """Octets a second towards the client, 16 MiB a call."""
        options = *_call(UNARY), *_shape(calls, 2), "-w", "24", "-W", "26"
        return calls * BULK / _seconds(self._run(target, BULK_DOWN, *options, tls=tls))

    def up(self, target: Target, calls: int, *, tls: bool = False) -> float:
        """Octets a second towards the worker, 16 MiB a call."""
        options = *_call(BULK_DOWN), *_shape(calls, 2)
        return calls * BULK / _seconds(self._run(target, BULK_UP, *options, tls=tls))

    def _run(self, target: Target, path: str | None, *options: str, tls: bool = False) -> str:
        fields = [word for name, value in target.fields() for word in ("-H", f"{name}: {value}")]
        url = () if path is None else (target.url(path, tls=tls),)
        command = [program("h2load", "nghttp2-client"), CIPHER, *options, *fields, *url]
        done = subprocess.run(
            pinned(self.core, *command), capture_output=True, text=True, timeout=300, check=False
        )
        found = _REQUESTS.search(done.stdout)
        if done.returncode or found is None or found[1] != found[2]:
            raise LoadFailed(f"{' '.join(command)}\n{done.stdout[-2_000:]}\n{done.stderr}")
        return done.stdout


def _call(message: str) -> tuple[str, ...]:
    return "-d", str(message_file(message)), "-H", ":method: POST"


def _shape(requests: int, streams: int) -> tuple[str, ...]:
    return "-n", str(requests), "-c", str(CONNECTIONS), "-m", str(streams)


def _seconds(said: str) -> float:
    found = _DONE.search(said)
    if found is None:
        raise LoadFailed(said)
    return float(found[1]) * _UNITS[found[2]]


def percentiles(times: Sequence[float]) -> Latency:
    cuts = quantiles(times, n=100)
    return Latency(cuts[49], cuts[98])
