"""The loads whose requests differ, as real ones do: which they are, and how each is made.

All calls are alike in size. What differs is what does so in practice: a path, a trace's id, binary
metadata; many clients with one call each; a connection for each call.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from doorbench.load import Load, LoadFailed, Target
from doorbench.machine import Missing, pinned, program
from doorbench.worker import UNARY, message_file

_CLIENTS = Path(__file__).with_name("clients")
_BUILT = Path(__file__).parents[3] / "bench-results/clients"
_GO_CODE = Path("/usr/share/gocode")  # where Debian has its libraries

Run = Callable[[Load, Target, int], float]  # so many calls, in so many a second


@dataclass(frozen=True)
class Traffic:
    """`first` is how many calls tell roughly how fast a subject is."""

    name: str
    title: str
    run: Run
    first: int = 1_000
    tls: bool = False
    resumed: bool = False


def _h2load(connections: int, streams: int) -> Run:
    return lambda load, target, calls: load.different(target, calls, connections, streams)


def _connections(how: str) -> Run:
    def run(load: Load, target: Target, calls: int) -> float:
        port = target.port if how == "plain" else target.tls_port
        program_ = str(_built("connections"))
        return calls / _said(load, target, program_, f"127.0.0.1:{port}", calls, 25, how)

    return run


def _grpc_go(load: Load, target: Target, calls: int) -> float:
    program_ = str(_built("grpcgo"))
    return calls / _said(load, target, program_, f"127.0.0.1:{target.port}", calls, 4, 25)


def _grpcio(load: Load, target: Target, calls: int) -> float:
    script = str(_CLIENTS / "grpcpython.py")
    where = f"127.0.0.1:{target.port}"
    return calls / _said(load, target, sys.executable, script, where, calls, 4, 25)


TRAFFIC = (
    Traffic("differ", "requests that differ, 4 x 25", _h2load(4, 25)),
    Traffic("small200", "200 clients, one call each", _h2load(200, 1), first=4_000),
    Traffic("small2000", "2,000 clients, one call each", _h2load(2_000, 1), first=20_000),
    Traffic("connect", "a connection a call", _connections("plain"), first=300),
    Traffic("tls_full", "a TLS connection a call, full", _connections("full"), 150, tls=True),
    Traffic(
        "tls_resumed",
        "a TLS connection a call, resumed",
        _connections("resumed"),
        150,
        tls=True,
        resumed=True,
    ),
    Traffic("grpc_go", "grpc-go, 4 x 25", _grpc_go),
    Traffic("grpcio", "grpcio, 4 x 25", _grpcio),
)


@cache
def _built(name: str) -> Path:
    """One of the Go programs of `clients/`, with the libraries that Debian packages.

    Raises:
        Missing: Go or the library is not installed.
    """
    go = program("go", "golang-go")
    if not (_GO_CODE / "src/google.golang.org/grpc").is_dir():
        raise Missing("grpc-go is not here: apt-get install golang-google-grpc-dev")
    source, out = _CLIENTS / f"{name}.go", _BUILT / name
    if out.exists() and out.stat().st_mtime > source.stat().st_mtime:
        return out
    _BUILT.mkdir(parents=True, exist_ok=True)
    environment = {
        "GO111MODULE": "off",
        "GOPATH": str(_GO_CODE),
        "GOCACHE": str(_BUILT / "cache"),
        "CGO_ENABLED": "0",
        "PATH": "/usr/bin:/bin:/usr/local/bin",
        "HOME": str(_BUILT),
    }
    command = [go, "build", "-o", str(out), str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{name}.go was not built: {done.stderr}")
    return out


def _said(load: Load, target: Target, *command: object) -> float:
    """Run a client that says how many seconds it took."""
    fields = [f"{name}={value}" for name, value in _fields(target, command)]
    words = [str(each) for each in command]
    done = subprocess.run(
        pinned(load.core, *words, str(message_file(UNARY)), *fields),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise LoadFailed(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return float(done.stdout)


def _fields(target: Target, command: tuple[object, ...]) -> list[tuple[str, str]]:
    """Those that a library does not write by itself."""
    if "connections" in str(command[0]):
        return target.fields()
    return list((target.headers or {}).items())


def available() -> tuple[list[Traffic], list[str]]:
    """What this machine can make, and what not, with the reason."""
    missing = []
    for name in ("connections", "grpcgo"):
        try:
            _built(name)
        except Missing as error:
            missing.append(f"{name} ({error})")
    absent = {
        name
        for program_, names in (
            ("connections", ("connect", "tls_full", "tls_resumed")),
            ("grpcgo", ("grpc_go",)),
        )
        for name in names
        if any(each.startswith(program_) for each in missing)
    }
    return [each for each in TRAFFIC if each.name not in absent], missing
