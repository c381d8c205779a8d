"""What cannot be meant is told before a router is asked; what cannot be reached, and why."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import socket
import subprocess
import sys
from datetime import timedelta

import click
import grpc
import pytest
import trustme
from click.testing import CliRunner
from controlkit.fakes import FakeCallers, FakeFleet, asleep
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from waiting import LONG

from torpor_router.cli.arguments import Duration
from torpor_router.cli.client_errors import HandshakeFailed
from torpor_router.cli.connection import parse_address
from torpor_router.cli.satellite import main
from torpor_router.control.adapter import SATELLITES, GrpcAdapter
from torpor_router.control.calls import Calls
from torpor_router.control.ports import Unaudited, Unobserved
from torpor_router.control.refusals import Refusals
from torpor_router.names import stays_here
from torpor_statemachine.lifecycle.states import State


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["launch"], "Missing argument 'NAME'"),
        (["launch", "one", "--sleep-after", "30"], "is no length of time; write 90s, 30m"),
        (["launch", "one", "--sleep-after", "0s"], "is no time at all"),
        (["launch", "one", "--sleep-after", "-5m"], "is no length of time"),
        (["launch", "one", "--sleep-after", "5m1h"], "is no length of time"),
        (["launch", "one", "--sleep-after", "\u0665m"], "is no length of time"),
        (["launch", "one", "--sleep-after", "9999999d"], "is no length of time"),
        (["launch", "one", "--arch", "i386"], "'i386' is not one of 'x86_64', 'arm64'"),
        (["launch", "one", "--sleep-mode", "nap"], "'nap' is not one of"),
        (["launch", "one", "--set", "a"], "is not of the form KEY=VALUE"),
        (["launch", "one", "--set", "=a"], "is not of the form KEY=VALUE"),
        (["launch", "one", "--set", "a=1", "--set", "a=2"], "'a' is given twice"),
        (["history", "one", "--limit", "many"], "is not a valid integer"),
        (["history", "one", "--limit", "1001"], "1001 is not in the range"),
        (["update", "one"], "nothing to change"),
        (["ls", "--address", ""], "is not HOST:PORT"),
        (["ls", "--address", "host:port"], "is not HOST:PORT"),
        (["ls", "--address", "host:0"], "is not HOST:PORT"),
        (["ls", "--address", ":8372"], "is not HOST:PORT"),
        (["ls", "--address", "https://host"], "is not HOST:PORT"),
        (["ls", "--address", "https://host:1"], "is not HOST:PORT"),
        (["ls", "--address", "[::1"], "is not HOST:PORT"),
        (["ls", "--token", "a", "--token-file", __file__], "exclude each other"),
        (["ls", "--client-cert", __file__], "are given together or not at all"),
        (["ls", "--client-key", __file__], "are given together or not at all"),
        (["ls", "--plaintext", "--ca", __file__], "leaves no use for --ca"),
        (["nap", "one"], "No such command 'nap'"),
        (["ls", "one"], "unexpected extra argument"),
    ],
    ids=lambda each: " ".join(each)[-40:] if isinstance(each, list) else "",
)
def test_wrong_usage(arguments: list[str], told: str) -> None:
    token = {} if "--token" in arguments or "--token-file" in arguments else {"TORPOR_TOKEN": "a"}
    done = CliRunner().invoke(main, arguments, env=token)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["ls"], "TPR-1401", "No token was given"),
        (["ls", "--token", "a", "--ca", "/nowhere"], "TPR-1402", "/nowhere"),
        (["ls", "--token", "a", "--address", ""], "", "is not HOST:PORT"),
        (["launch"], "", "Missing argument 'NAME'"),
        (["update", "one", "--token", "a"], "", "nothing to change"),
        (["history", "one", "--token", "a", "--limit", "0"], "", "0 is not in the range"),
    ],
)
def test_wrong_usage_is_json_too(arguments: list[str], code: str, told: str) -> None:
    done = CliRunner().invoke(main, [*arguments, "--json"], env={"TORPOR_TOKEN": None})
    error = json.loads(done.stderr)["error"]
    assert error["code"] == code
    assert told in error["message"]
    assert done.exit_code == (3 if code == "TPR-1401" else 2)
    assert done.stdout == ""


@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999), st.integers(1, 999))
def test_every_duration_is_read_as_it_is_written(days, hours, minutes, seconds) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert Duration().convert(text, None, None) == expected


@given(st.text(max_size=12))
def test_any_other_text_is_no_duration(text: str) -> None:
    try:
        read = Duration().convert(text, None, None)
    except click.BadParameter:
        return
    assert read > timedelta(0)


@pytest.mark.parametrize(
    ("text", "host", "port", "here"),
    [
        ("localhost", "localhost", 8372, True),
        ("127.0.0.1:1", "127.0.0.1", 1, True),
        ("[::1]:5", "::1", 5, True),
        ("::1", "::1", 8372, True),
        (" builds.example.com ", "builds.example.com", 8372, False),
        ("10.0.0.1:443", "10.0.0.1", 443, False),
        ("localhost.example.com", "localhost.example.com", 8372, False),
    ],
)
def test_addresses(text: str, host: str, port: int, here: bool) -> None:
    address = parse_address(text)
    assert (*address, stays_here(address.host)) == (host, port, here)


@pytest.mark.parametrize("name", ["One", "one--two", "", "globex/one", "x" * 41, "-x"])
async def test_a_bad_name_is_wrong_usage(commands, name: str) -> None:
    house = await commands()
    done = await house.run("launch", "--", name)
    assert done.code == 2
    assert done.err.startswith("TPR-1301 ")


async def test_a_bad_idle_time_is_wrong_usage(commands) -> None:
    house = await commands()
    done = await house.run("launch", "one", "--sleep-after", "1000d")
    assert done.code == 2
    assert done.err.startswith("TPR-2015 ")


def test_without_a_token_nothing_is_asked() -> None:
    done = CliRunner().invoke(main, ["ls"])
    assert done.exit_code == 3
    assert done.stderr.startswith("TPR-1401 ")
    assert "TORPOR_TOKEN" in done.stderr


async def test_a_wrong_token(commands) -> None:
    house = await commands()
    done = await house.run("ls", "--json", TORPOR_TOKEN="wrong")
    assert done.code == 3
    assert (done.error["status"], done.error["code"]) == ("UNAUTHENTICATED", "TPR-1003")


async def test_where_a_token_comes_from(commands, tmp_path) -> None:
    house = await commands(asleep())
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("acme\n")
    bad.write_text("wrong\n")
    for arguments, environment, code in [
        (["--token-file", good], {"TORPOR_TOKEN": "wrong"}, 0),
        (["--token", "acme"], {"TORPOR_TOKEN": "wrong", "TORPOR_TOKEN_FILE": str(bad)}, 0),
        ([], {"TORPOR_TOKEN": "", "TORPOR_TOKEN_FILE": str(good)}, 0),
        ([], {"TORPOR_TOKEN": "acme", "TORPOR_TOKEN_FILE": str(bad)}, 0),
        (["--token-file", bad], {}, 3),
    ]:
        done = await house.run("ls", *map(str, arguments), **environment)
        assert done.code == code, (arguments, environment, done.err)


@pytest.mark.parametrize(
    "content", [b"two words", b"caf\xc3\xa9", b"\xff\xfe", b"a\nb", b"a\x1b[1m"]
)
def test_a_token_that_cannot_be_one_is_not_sent_or_shown(tmp_path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    done = CliRunner().invoke(main, ["ls", "--token-file", str(file)])
    assert done.exit_code == 2
    assert done.stderr.startswith("TPR-1402 ")
    assert content.decode(errors="replace") not in done.stderr


@pytest.mark.parametrize("option", ["--token-file", "--ca"])
def test_a_file_that_is_not_there(option: str, tmp_path) -> None:
    environment = {} if option == "--token-file" else {"TORPOR_TOKEN": "a"}
    done = CliRunner().invoke(main, ["ls", option, str(tmp_path / "none")], env=environment)
    assert done.exit_code == 2
    assert "none: No such file or directory" in done.stderr


async def test_where_nobody_listens_it_says_what_to_look_at() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = await asyncio.to_thread(
            CliRunner().invoke,
            main,
            ["wake", "one"],
            env={"TORPOR_TOKEN": "a", "TORPOR_ADDRESS": address},
        )
    assert done.exit_code == 4
    first, second = done.stderr.splitlines()
    assert first.startswith(f"TPR-1403 No router answers: {address}: ")
    assert "refused" in first
    assert "'torpor serve'" in second


async def test_a_server_that_is_no_router() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    done = await asyncio.to_thread(
        CliRunner().invoke,
        main,
        ["ls", "--address", f"127.0.0.1:{port}"],
        env={"TORPOR_TOKEN": "a"},
    )
    await server.stop(None)
    assert done.exit_code == 3
    assert done.stderr.startswith("TPR-1405 ")


@pytest.fixture
async def tls_server(tmp_path):
    """Start a router with TLS at the name localhost: its address. The files lie in tmp_path."""
    ca, other = trustme.CA(), trustme.CA()
    issued, clients = ca.issue_cert("localhost"), ca.issue_cert("client@example.com")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    clients.private_key_pem.write_to_path(tmp_path / "key.pem")
    clients.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    servers = []

    async def start(*, asks: bool = False) -> str:
        credentials = grpc.ssl_server_credentials(
            [(issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())],
            root_certificates=ca.cert_pem.bytes(),
            require_client_auth=asks,
        )
        stop = asyncio.Event()
        calls = Calls(FakeFleet(asleep()), default_provisioner="local", stop=stop)
        adapter = GrpcAdapter(FakeCallers(), Refusals(Unobserved()), Unaudited(), stop)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((adapter.handlers(SATELLITES, calls),))
        port = server.add_secure_port("localhost:0", credentials)
        await server.start()
        servers.append(server)
        return f"localhost:{port}"

    yield start
    for server in servers:
        await server.stop(None)


async def listed(address: str, *arguments: object):
    environment = {"TORPOR_TOKEN": "acme", "TORPOR_ADDRESS": address}
    return await asyncio.to_thread(
        CliRunner().invoke, main, ["ls", *map(str, arguments)], env=environment
    )


async def test_tls_with_the_right_ca_and_with_another(tls_server, tmp_path) -> None:
    address = await tls_server()
    assert (await listed(address, "--ca", tmp_path / "ca.pem")).exit_code == 0
    for wrong in (["--ca", tmp_path / "other.pem"], ["--tls"]):
        done = await listed(address, *wrong)
        assert done.exit_code == 4
        assert done.stderr.startswith(f"TPR-1404 {HandshakeFailed.cause}: {address}: the router's")
        assert "issuer certificate" in done.stderr
        assert "--ca" in done.stderr
        assert "BoringSSL" not in done.stderr
        assert "OPENSSL" not in done.stderr


async def test_a_certificate_of_another_name(tls_server, tmp_path) -> None:
    _, _, port = (await tls_server()).partition(":")
    done = await listed(f"127.0.0.1:{port}", "--ca", tmp_path / "ca.pem")
    assert done.exit_code == 4
    assert done.stderr.startswith("TPR-1404 "), done.stderr
    assert "not valid for '127.0.0.1'" in done.stderr


async def test_plaintext_to_a_router_with_tls(tls_server) -> None:
    """To this machine itself plaintext is the default."""
    done = await listed(await tls_server())
    assert done.exit_code == 4
    assert done.stderr.startswith("TPR-1404 "), done.stderr
    assert "it speaks TLS, and it was spoken to in plaintext" in done.stderr


async def test_a_client_certificate_is_shown_where_one_is_asked_for(tls_server, tmp_path) -> None:
    address = await tls_server(asks=True)
    ca = ("--ca", tmp_path / "ca.pem")
    shown = ("--client-cert", tmp_path / "cert.pem", "--client-key", tmp_path / "key.pem")
    assert (await listed(address, *ca, *shown)).exit_code == 0
    done = await listed(address, *ca)
    assert (done.exit_code, done.stderr[:9]) == (4, "TPR-1404 ")
    assert "it asks for a client certificate" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--ca", "nonsense.pem"],
        ["--ca", "key.pem"],
        ["--client-cert", "nonsense.pem", "--client-key", "key.pem"],
        ["--client-cert", "cert.pem", "--client-key", "other-key.pem"],
        ["--client-cert", "cert.pem", "--client-key", "locked-key.pem"],
    ],
)
async def test_files_that_are_no_certificates(tls_server, tmp_path, options) -> None:
    address = await tls_server()
    (tmp_path / "nonsense.pem").write_text("a host's name")
    key = ec.generate_private_key(ec.SECP256R1())
    for name, encryption in (
        ("other-key.pem", serialization.NoEncryption()),
        ("locked-key.pem", serialization.BestAvailableEncryption(b"a word")),
    ):
        (tmp_path / name).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
            )
        )
    given = [each if each.startswith("--") else tmp_path / each for each in options]
    done = await listed(address, *given)
    assert done.exit_code == 2, done.stderr
    assert done.stderr.startswith("TPR-1402 "), done.stderr
    assert str(tmp_path / options[1]) in done.stderr


async def test_tls_to_a_router_without_it(commands) -> None:
    house = await commands()
    done = await house.run("ls", "--tls")
    assert done.code == 4
    assert done.err.startswith("TPR-1404 ")
    assert "it does not speak TLS" in done.err
    assert "--plaintext" in done.err


async def test_a_token_goes_to_another_machine_by_tls_alone(monkeypatch) -> None:
    """The channel is made with TLS; what it is made with is looked at, nothing is sent."""
    from torpor_router.cli import client

    made = []

    def channel(where, *_):
        made.append(where)
        raise click.ClickException("not in this test")

    monkeypatch.setattr(client.grpc, "secure_channel", channel)  # type: ignore[attr-defined]
    environment = {"TORPOR_TOKEN": "a", "TORPOR_ADDRESS": "builds.example.com"}
    CliRunner().invoke(main, ["ls"], env=environment)
    assert made == ["builds.example.com:8372"]


def test_help_comes_at_once_and_without_grpc() -> None:
    for arguments in ([], ["wake"], ["token", "create"]):
        script = (
            "import sys; from torpor_router.cli.satellite import main\n"
            f"try: main({[*arguments, '--help']})\n"
            "finally: print([m for m in ('grpc', 'google.protobuf', 'rich', 'asyncpg')"
            " if m in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG, check=True
        )
        assert done.stderr.strip() == "[]"
        assert "satellite" in done.stdout


GROUPS = {name: each for name, each in main.commands.items() if isinstance(each, click.Group)}
NO_ROUTER = {*GROUPS, "logout", "unselect"}
GROUPED = [
    f"{name} {command}"
    for name, group in GROUPS.items()
    if name != "context"
    for command in group.commands
]


@pytest.mark.parametrize("command", sorted([*main.commands, *GROUPED]))
def test_every_command_has_an_example_that_shows_no_token(command: str) -> None:
    done = CliRunner().invoke(main, [*command.split(), "--help"])
    assert done.exit_code == 0
    example = done.output.partition("For example:\n")[2].partition("\n\n")[0]
    assert f"satellite {command}" in example
    assert "--token " not in example
    if command not in NO_ROUTER:
        assert "Connection:\n" in done.output
    if command not in GROUPS:
        assert "--json" in done.output.partition("Connection:")[0]


async def test_on_a_terminal_a_wake_is_one_moving_line(commands) -> None:
    house = await commands(asleep("one", usual_wake=timedelta(seconds=20)), by_itself=False)
    house.environment |= {"TERM": "xterm", "COLUMNS": "100"}
    ours, theirs = pty.openpty()
    process = await house.start("wake", "one", stderr=theirs)
    os.close(theirs)
    await asyncio.wait_for(house.fleet.until("wake"), LONG)
    shown = b""
    while b"resumed" not in shown:
        shown += await asyncio.wait_for(asyncio.to_thread(os.read, ours, 1000), LONG)
    await house.fleet.becomes("one", State.RUNNING)
    out, _ = await asyncio.wait_for(process.communicate(), LONG)
    os.close(ours)
    assert process.returncode == 0
    assert out.decode().startswith("acme/one is running")
    assert re.search(rb"acme/one waking, [\d.]+m?s, usually 20s: the machine is starting", shown)


async def test_rm_asks_for_the_name_on_a_terminal(commands) -> None:
    house = await commands(asleep("one"))
    for answer, code, calls in ((b"two\n", 3, 0), (b"y\n", 3, 0), (b"one\n", 0, 1)):
        ours, theirs = pty.openpty()
        process = await house.start("rm", "one", stdin=theirs)
        os.close(theirs)
        os.write(ours, answer)
        out, err = await asyncio.wait_for(process.communicate(), LONG)
        os.close(ours)
        assert process.returncode == code, (out, err)
        assert b"deletes its disk. Type 'one' to confirm" in err
        assert (b"TPR-1147" in err) is (code == 3)
        assert len(house.fleet.asked) == calls


async def test_rm_without_a_terminal_needs_yes(commands) -> None:
    house = await commands(asleep("one"))
    done = await house.run("rm", "one")
    assert (done.code, done.out) == (2, "")
    assert "--yes" in done.err
    assert not house.fleet.asked
