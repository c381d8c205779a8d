"""`satellite doctor` from networks that are each broken in one way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from controlkit.fakes import FakeCallers, FakeFleet, asleep, satellite
from documented import as_documented
from doorkit.authority import Authority

from torpor_router.cli.doctor.examine import CHECKS
from torpor_router.cli.satellite import main
from torpor_router.control.access_calls import AccessCalls
from torpor_router.control.adapter import ACCESS, SATELLITES, GrpcAdapter
from torpor_router.control.calls import Calls
from torpor_router.control.ports import Unaudited, Unobserved
from torpor_router.control.refusals import Refusals
from torpor_statemachine.lifecycle.states import State

NETWORK = list(CHECKS[:6])


class Examined:
    def __init__(self, done) -> None:
        self.code = done.exit_code
        self.told = json.loads(done.stdout)
        self.last = self.told["checks"][-1]
        as_documented(self.told, "doctor")

    @property
    def checks(self) -> list[str]:
        return [each["check"] for each in self.told["checks"]]


def examined(address: str, *options: object, token: str = "acme") -> Examined:
    words = ["doctor", "--address", address, "--within", "1s", "--json", *map(str, options)]
    return Examined(CliRunner().invoke(main, words, env={"TORPOR_TOKEN": token}))


def stops_at(check: str, address: str, *options: object, told: str, fix: str) -> None:
    """It fails at that check, having passed those before, and says what to fix."""
    found = examined(address, *options)
    assert found.checks == NETWORK[: NETWORK.index(check) + 1], found.told
    assert [each["ok"] for each in found.told["checks"]] == [*[True] * NETWORK.index(check), False]
    assert found.code == 1
    assert found.told["ok"] is False
    assert told in found.last["detail"]
    assert fix in found.last["remedy"]
    assert found.told["fix"] == found.last["remedy"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.contextmanager
def listening(*, backlog: int = 5) -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        yield server, f"127.0.0.1:{server.getsockname()[1]}"


@contextlib.contextmanager
def tls_server(files, *, alpn: tuple[str, ...] = ("h2",), says: bytes = b"") -> Iterator[str]:
    """A server that shakes hands, says something, and hangs up when the client does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))

    def serve(server: socket.socket) -> None:
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            with (
                plain,
                contextlib.suppress(OSError),
                context.wrap_socket(plain, server_side=True) as secure,
            ):
                secure.sendall(says)
                secure.recv(100)
                secure.recv(1)

    with listening() as (server, address):
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield address
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_an_address_that_is_none() -> None:
    found = examined("https://builds")
    assert (found.checks, found.code) == (["address"], 1)
    assert "is not HOST:PORT" in found.last["detail"]


def test_a_host_that_dns_does_not_know() -> None:
    fix = "make this machine's DNS know nowhere..invalid"
    stops_at("DNS", "nowhere..invalid:8372", told="nowhere..invalid", fix=fix)


def test_dns_servers_that_do_not_answer(monkeypatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(60) and [])
    stops_at("DNS", "builds.test:8372", told="no answer about builds.test", fix="resolv.conf")
    answered.set()


def test_a_closed_port() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        stops_at("TCP", address, told="refuses connections", fix="'torpor serve' runs there")


def test_a_black_hole_takes_no_connection() -> None:
    """Its backlog is full, so that the kernel drops who knocks, as a firewall does."""
    with listening(backlog=0) as (server, address), contextlib.ExitStack() as stack:
        for _ in range(3):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(server.getsockname())
        stops_at("TCP", address, told="does not answer within 1 s", fix="firewalls")


def test_what_never_says_anything() -> None:
    with listening() as (_, address):
        stops_at("HTTP/2", address, told="no answer to the first frame", fix="no router")
    with listening() as (_, address):
        stops_at("TLS", address, "--tls", told="nothing is said", fix="no router")


def test_a_certificate_of_another_name(authority) -> None:
    with tls_server(authority.issue(address="127.0.0.2")) as address:
        stops_at(
            "TLS", address, "--ca", authority.path, told="not valid for '127.0.0.1'", fix="the name"
        )


def test_a_certificate_of_an_unknown_ca(authority, tmp_path) -> None:
    other = Authority(tmp_path, "other")
    with tls_server(authority.issue()) as address:
        stops_at("TLS", address, "--ca", other.path, told="the router's certificate", fix="--ca")
        stops_at("TLS", address, "--tls", told="issuer certificate", fix="TORPOR_CA")


@pytest.mark.parametrize(("begins", "lives"), [(-7_200, -3_600), (3_600, 7_200)])
def test_dates_and_the_clock_do_not_agree(authority, begins, lives) -> None:
    with tls_server(authority.issue(begins=begins, lives=lives)) as address:
        fix = "Set this machine's clock if it is wrong; else renew"
        stops_at("clock", address, "--ca", authority.path, told="is good from", fix=fix)


def test_a_server_without_tls_and_one_with_it(authority) -> None:
    def hello(server: socket.socket) -> None:
        with server.accept()[0] as taken:
            taken.recv(10)
            taken.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    for options, check, told, fix in (
        (("--tls",), "TLS", "does not speak TLS", "--plaintext"),
        ((), "HTTP/2", "does not speak HTTP/2", "Check the address"),
    ):
        with listening() as (server, address):
            thread = threading.Thread(target=hello, args=(server,))
            thread.start()
            stops_at(check, address, *options, told=told, fix=fix)
            thread.join()
    with tls_server(authority.issue()) as address:
        stops_at("HTTP/2", address, told="in plaintext", fix="--tls")


def test_a_proxy_that_speaks_http_1(authority) -> None:
    for alpn, told in (((), "no HTTP/2"), (("http/1.1",), "no HTTP/2")):
        with tls_server(authority.issue(), alpn=alpn) as address:
            stops_at("HTTP/2", address, "--ca", authority.path, told=told, fix="layer 4")


def test_a_client_certificate_is_asked_for(authority) -> None:
    files = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)

    def serve(server: socket.socket) -> None:
        with server.accept()[0] as taken, contextlib.suppress(OSError):
            context.wrap_socket(taken, server_side=True)

    with listening() as (server, address):
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        found = examined(address, "--ca", authority.path)
        thread.join()
    assert found.last["ok"] is False
    assert "--client-cert" in found.told["fix"]


async def test_a_wrong_token_and_none(commands) -> None:
    house = await commands()
    address = house.environment["TORPOR_ADDRESS"]
    for token, code in (("wrong", "TPR-1003"), ("", "TPR-1401")):
        found = await asyncio.to_thread(examined, address, token=token)
        assert found.checks == list(CHECKS[:7])
        assert (found.last["check"], found.last["code"], found.code) == ("token", code, 1)
    found = await asyncio.to_thread(examined, address)
    assert (found.told["ok"], found.told["fix"], found.code) == (True, "", 0)
    assert found.checks == list(CHECKS[:8])
    found = await asyncio.to_thread(examined, address, "nowhere")
    assert (found.last["check"], found.last["code"], found.code) == ("route", "TPR-2009", 1)


class WithWorker(grpc.GenericRpcHandler):
    """The answer of a worker behind the router; None never comes."""

    def __init__(self, answer: grpc.StatusCode | None) -> None:
        self.answer = answer

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.export)

    async def export(self, _, context) -> bytes:
        assert ("satellite", "acme/one") in context.invocation_metadata()
        if self.answer is None:
            await asyncio.Event().wait()
        elif self.answer is not grpc.StatusCode.OK:
            await context.abort(self.answer, "a worker's own words")
        return b""


@pytest.mark.parametrize(
    ("state", "answer", "told"),
    [
        (State.RUNNING, grpc.StatusCode.OK, "it answers"),
        (State.RUNNING, grpc.StatusCode.UNIMPLEMENTED, "it answers"),
        (State.ASLEEP, grpc.StatusCode.OK, "asleep: a build wakes it"),
        (State.RUNNING, None, "does not answer"),
        (State.RUNNING, grpc.StatusCode.UNAVAILABLE, "a worker's own words"),
    ],
)
async def test_a_worker(state, answer, told) -> None:
    stop, nothing = asyncio.Event(), None
    one = asleep() if state is State.ASLEEP else satellite()
    calls = Calls(FakeFleet(one), default_provisioner="local", stop=stop)
    whoami = AccessCalls(*[nothing] * 5, issuing=nothing)
    adapter = GrpcAdapter(FakeCallers(), Refusals(Unobserved()), Unaudited(), stop)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            adapter.handlers(SATELLITES, calls),
            adapter.handlers(ACCESS, whoami),
            WithWorker(answer),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = await asyncio.to_thread(examined, f"127.0.0.1:{port}", "one")
    await server.stop(None)
    assert found.checks == list(CHECKS), found.told
    assert told in found.last["detail"]
    assert found.code == (0 if found.last["ok"] else 1)
    assert found.last["ok"] is (answer in (grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED))


def test_a_person_reads_a_line_each_and_what_to_fix() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = CliRunner().invoke(main, ["doctor"], env={"TORPOR_ADDRESS": address})
    assert done.stdout.splitlines() == [
        f"ok  address     {address} (TORPOR_ADDRESS)",
        "ok  DNS         not needed: it is an IP address",
        f"NO  TCP         {address} refuses connections",
        "Fix first: Check the port, and that 'torpor serve' runs there.",
    ]
