"""A router started with what the stack tells it: its variables, its secrets, its own SIGTERM."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import trustme
from free_ports import free_ports
from infrakit.templates import files_of_a_router, load

from torpor_router.transport.proxy import SIGNATURE

DOOR = "one--acme.sat.example.com"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def told(infra: Path, tmp_path: Path, database_url: str, authority: trustme.CA) -> dict[str, str]:
    """A router's environment: the stack's variables, and what `secrets` makes of its secrets."""
    node = files_of_a_router(load(infra / "cloudformation" / "torpor.yaml"))
    variables = dict(line.split("=", 1) for line in node["/etc/torpor/router.env"].splitlines())
    issued = authority.issue_cert(DOOR)
    (tmp_path / "database").write_text(json.dumps({"url": database_url}))
    (tmp_path / "certificate").write_text(
        json.dumps(
            {
                "certificate": issued.cert_chain_pems[0].bytes().decode(),
                "key": issued.private_key_pem.bytes().decode(),
            }
        )
    )
    runtime, programs = tmp_path / "run", tmp_path / "bin"
    runtime.mkdir()
    programs.mkdir()
    for name, text in (("aws", f'cat {tmp_path}/"$6"; echo'), ("chown", "true")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    subprocess.run(
        [infra / "systemd" / "secrets"],
        check=True,
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RUNTIME_DIRECTORY": str(runtime),
            "AWS_REGION": "eu-west-1",
            "DATABASE_SECRET": "database",
            "CERTIFICATE_SECRET": "certificate",
        },
    )
    for line in (runtime / "secrets.env").read_text().splitlines():
        name, value = line.split("=", 1)
        variables[name] = value.replace("/run/torpor/", f"{runtime}/")
    workers = int(variables["TORPOR_PROCESSES"])
    assert workers > 1
    user_data = tmp_path / "satellite"
    user_data.write_text("#cloud-config\n")
    return variables | {
        "TORPOR_EC2_USER_DATA": str(user_data),
        "TORPOR_DATA": str(tmp_path / "data"),
        "TORPOR_LISTEN": f"127.0.0.1:{free_ports(1)}",  # not every address, in a test
        "TORPOR_METRICS": f"127.0.0.1:{free_ports(workers)}",
    }


def ready(told: dict[str, str], router: subprocess.Popen[str]) -> bool:
    """Whether every worker becomes ready; as the node's own `setup` asks the first."""
    host, port = told["TORPOR_METRICS"].split(":")
    waiting = {int(port) + number for number in range(int(told["TORPOR_PROCESSES"]))}
    end = time.monotonic() + 60
    while waiting and time.monotonic() < end and router.poll() is None:
        try:
            with urlopen(f"http://{host}:{min(waiting)}/readyz", timeout=5) as answer:
                assert answer.status == 200
                waiting.remove(min(waiting))
        except (URLError, ConnectionError):
            time.sleep(0.05)
    return not waiting


@pytest.fixture
def router(told: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", "from torpor_router.cli.torpor import main; main()", "serve"]
    log = tmp_path / "router.log"
    with log.open("w") as file:
        started = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"]} | told,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        assert ready(told, started), log.read_text()
        yield started
    finally:
        started.kill()
        started.wait()


@pytest.fixture
def through_the_balancer(told, authority) -> Callable[[], ssl.SSLSocket]:
    """Connects as the load balancer does for a client: a PROXY header, then the client's TLS."""

    def connect() -> ssl.SSLSocket:
        host, port = told["TORPOR_LISTEN"].rsplit(":", 1)
        plain = socket.create_connection((host, int(port)), timeout=30)
        addresses = socket.inet_aton("203.0.113.7") + socket.inet_aton("10.87.0.4")
        ports = (40000).to_bytes(2, "big") + (443).to_bytes(2, "big")
        plain.sendall(SIGNATURE + b"\x21\x11\x00\x0c" + addresses + ports)
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        authority.configure_trust(context)
        return context.wrap_socket(plain, server_hostname=DOOR)

    return connect


def test_a_router_is_ready_answers_through_the_balancer_and_drains(
    router, told, through_the_balancer, tmp_path
):
    host, port = told["TORPOR_LISTEN"].rsplit(":", 1)
    # The load balancer's health check: connect, a PROXY header of its own, and gone.
    with socket.create_connection((host, int(port)), timeout=30) as check:
        check.sendall(SIGNATURE + b"\x20\x00\x00\x00")
    with through_the_balancer() as client:
        assert client.selected_alpn_protocol() == "h2"
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        frame = client.recv(9)
        assert frame[3] == 4, "the router's own SETTINGS come at once (RFC 9113 section 3.4)"
        router.terminate()
        assert router.wait(60) == 0
    log = (tmp_path / "router.log").read_text()
    assert all(json.loads(line)["level"] in {"info", "warning"} for line in log.splitlines()), log
    assert "TPR-" not in log


def test_the_commands_of_the_page_find_the_database_by_the_same_variables(told, router):
    for command in ("org create acme", "token create acme laptop"):
        main = "from torpor_router.cli.torpor import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", main, *command.split()],
            env={"PATH": os.environ["PATH"]} | told,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tpr_")  # type: ignore[possibly-undefined]
