"""Contexts, the selected satellite, login and logout."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from controlkit.fakes import asleep
from documented import as_documented
from waiting import LONG

from torpor_router.cli.contexts import file
from torpor_router.cli.contexts.book import Context, Contexts, parsed, written
from torpor_router.cli.satellite import main


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the contexts are; nothing is there yet."""
    return tmp_path / "settings" / "torpor" / "contexts.json"


def keep(place: Path, content: str | bytes, mode: int = 0o600) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    place.chmod(mode)


async def logged_in(commands, *satellites, **options):
    """A house without variables, whose router is the context of its address."""
    house = await commands(*satellites, **options)
    address = house.environment["TORPOR_ADDRESS"]
    done = await house.run("login")
    assert done.code == 0, done.err
    house.environment = {}
    return house, address


async def test_login_keeps_what_every_command_then_uses(commands, place) -> None:
    house, address = await logged_in(commands, asleep("one"))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert [each["name"] for each in (await house.run("ls", "--json")).json] == ["one"]
    listed = (await house.run("context", "ls", "--json")).json
    as_documented(listed, "contexts")
    assert listed == [
        {
            "name": address,
            "address": address,
            "org": "",
            "satellite": "",
            "token": True,
            "selected": True,
        }
    ]
    assert (await house.run("logout")).code == 0
    assert "acme" not in place.read_text()
    done = await house.run("ls")
    assert (done.code, done.err[:8]) == (3, "TPR-1401")
    assert "satellite login" in done.err


async def test_login_keeps_nothing_that_the_router_refuses(commands, place) -> None:
    house = await commands()
    done = await house.run("login", TORPOR_TOKEN="wrong")
    assert (done.code, done.err[:8]) == (3, "TPR-1003")
    assert not place.exists()
    done = await house.run("login", TORPOR_ADDRESS="127.0.0.1:1")
    assert (done.code, done.err[:8]) == (4, "TPR-1403")
    assert not place.exists()
    done = await house.run("login", "--context", "a b")
    assert (done.code, "is not a word" in done.err) == (2, True)


async def test_login_asks_on_a_terminal_and_does_not_show_the_token(commands, place) -> None:
    house = await commands(asleep("one"))
    address = house.environment["TORPOR_ADDRESS"]
    house.environment = {"TERM": "xterm"}
    ours, theirs = pty.openpty()
    process = await house.start(
        "login", "--context", "work", stdin=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    for question, answer in ((b"Router (HOST:PORT): ", address), (b"Token: ", "acme")):
        while question not in shown:
            shown += await asyncio.wait_for(asyncio.to_thread(os.read, ours, 1000), LONG)
        os.write(ours, f"{answer}\n".encode())
    out, _ = await asyncio.wait_for(process.communicate(), LONG)
    after = b""
    try:
        while chunk := os.read(ours, 1000):
            after += chunk
    except OSError:  # its other end is closed
        os.close(ours)
    assert process.returncode == 0, (out, shown, after)
    assert b"acme" not in after
    assert "knows you as" in out.decode()
    kept = parsed(place.read_text())
    assert (kept.selected, kept.by_name["work"].address) == ("work", address)


def test_login_without_a_terminal_asks_nothing(place) -> None:
    done = CliRunner().invoke(main, ["login"])
    assert (done.exit_code, "give --address" in done.stderr) == (2, True)
    done = CliRunner().invoke(main, ["login", "--address", "localhost"])
    assert (done.exit_code, done.stderr[:8]) == (3, "TPR-1401")
    assert not place.exists()


async def test_a_selected_satellite_is_meant_where_none_is_named(commands) -> None:
    house, _ = await logged_in(commands, asleep("one"), asleep("two"))
    done = await house.run("wake")
    assert (done.code, done.err[:8]) == (2, "TPR-1164")
    done = await house.run("select", "three")
    assert (done.code, done.err[:8]) == (3, "TPR-2009")
    assert (await house.run("select", "two", "--json")).json["satellite"] == "two"
    assert (await house.run("wake", "--json")).json["name"] == "two"
    assert (await house.run("inspect", "one", "--json")).json["satellite"]["name"] == "one"
    named = await house.run("inspect", "--json", TORPOR_SATELLITE="one")
    assert named.json["satellite"]["name"] == "one"
    for always_named in ("launch", "rm"):
        done = await house.run(always_named)
        assert (done.code, "Missing argument 'NAME'" in done.err) == (2, True)
    assert (await house.run("unselect")).code == 0
    assert (await house.run("sleep")).err.startswith("TPR-1164")


async def test_options_go_before_the_environment_before_the_context(commands, place) -> None:
    """The fake fleet's org is its token, so that the satellites listed say which was used."""
    house, address = await logged_in(commands, asleep("one"))
    away = "127.0.0.1:1"
    with file.changing() as contexts:
        contexts.by_name["away"] = Context(away, "secret-of-away", satellite="far")
        contexts.by_name["here"] = Context(address, "globex")
        contexts.selected = "away"
    for arguments, environment, code in [
        ((), {}, "TPR-1403"),
        (("--context", address), {}, "one"),
        ((), {"TORPOR_CONTEXT": address}, "one"),
        (("--context", "here"), {"TORPOR_CONTEXT": address}, "none"),
        (("--context", "here"), {"TORPOR_TOKEN": "acme", "TORPOR_ADDRESS": away}, "none"),
        (("--context", "here", "--token", "acme"), {}, "one"),
        (("--context", "here"), {"TORPOR_TOKEN": "acme"}, "none"),
        ((), {"TORPOR_CONTEXT": "here", "TORPOR_TOKEN": "acme"}, "one"),
        ((), {"TORPOR_ADDRESS": address, "TORPOR_TOKEN": "acme"}, "one"),
        (("--address", address), {"TORPOR_CONTEXT": "here"}, "none"),
        # A token never goes to another router than its own.
        (("--address", address), {}, "TPR-1401"),
        ((), {"TORPOR_ADDRESS": address}, "TPR-1401"),
        (("--context", "away", "--address", address), {}, "TPR-1401"),
        (("--context", "nowhere"), {}, "TPR-1162"),
        ((), {"TORPOR_CONTEXT": "nowhere"}, "TPR-1162"),
    ]:
        done = await house.run("ls", "--json", *arguments, **environment)
        listed = "one" if not done.code and done.json else "none"
        got = done.error["code"] if done.code else listed
        assert got == code, (arguments, environment, done)
    done = await house.run("inspect", TORPOR_ADDRESS=address, TORPOR_TOKEN="acme")
    assert done.err.startswith("TPR-1164"), "the selection of another router"
    done = await house.run("select", "one", TORPOR_ADDRESS=address, TORPOR_TOKEN="acme")
    assert done.err.startswith("TPR-1166")


async def test_contexts_are_chosen_and_forgotten(commands) -> None:
    house, address = await logged_in(commands, asleep("one"))
    with file.changing() as contexts:
        contexts.by_name["other"] = Context("127.0.0.1:1", "globex")
    assert (await house.run("context", "use", "other")).code == 0
    assert (await house.run("ls")).err.startswith("TPR-1403")
    done = await house.run("context", "use", "none")
    assert (done.code, done.err[:8]) == (3, "TPR-1162")
    assert (await house.run("context", "ls")).out.splitlines()[1:] == [
        f"  {address}  {address}  -",
        "* other" + " " * (len(address) - 3) + "127.0.0.1:1" + " " * (len(address) - 9) + "-",
    ]
    assert (await house.run("context", "rm", "other")).code == 0
    assert (await house.run("context", "rm", "other")).err.startswith("TPR-1162")
    assert (await house.run("unselect")).err.startswith("TPR-1166")
    assert (await house.run("logout")).err.startswith("TPR-1166")
    assert (await house.run("logout", "other")).err.startswith("TPR-1162")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "it is not JSON, line 1"),
        ('{\n"selected": tok-secret\n}', "it is not JSON, line 2"),
        ("[]", "the whole is of another kind"),
        ("{}", "'contexts' is of another kind"),
        ('{"contexts": {"a": {"address": "x", "token": 5}}}', "'token' of the context 'a' is of"),
        ('{"contexts": {"a": {"address": "x", "tls": "no"}}}', "'tls' of the context 'a' is of"),
        ('{"contexts": {"a": {"token": "secret"}}}', "'address' of the context 'a' is not"),
        (b"\xff\xfe{", "it is not UTF-8"),
        ("[" * 100_000, "it is not JSON"),
        (" " * (file.LARGEST + 1), "it is larger than"),
    ],
    ids=["empty", "line", "list", "keys", "token", "tls", "address", "octets", "deep", "large"],
)
def test_a_broken_file_is_told_of_and_kept(place, content, told) -> None:
    keep(place, content)
    before = place.read_bytes()
    for arguments in (["ls"], ["context", "use", "a"], ["logout"]):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2, (arguments, done.stderr)
        assert done.stderr.startswith("TPR-1160 "), done.stderr
        assert str(place) in done.stderr
        assert told in done.stderr
        assert "secret" not in done.stderr
        assert "satellite login" in done.stderr
    assert place.read_bytes() == before


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644])
def test_a_file_that_others_can_read_is_not_used(place, mode) -> None:
    keep(place, written(Contexts("a", {"a": Context("localhost", "secret")})), mode)
    done = CliRunner().invoke(main, ["ls"])
    assert (done.exit_code, done.stderr[:8]) == (3, "TPR-1161")
    assert f"{mode:o}" in done.stderr
    assert "chmod 600" in done.stderr


def test_a_file_of_another_account_is_not_used(place, monkeypatch) -> None:
    keep(place, written(Contexts("a", {"a": Context("localhost", "secret")})))
    monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    done = CliRunner().invoke(main, ["ls"])
    assert (done.exit_code, done.stderr[:8]) == (3, "TPR-1161")
    assert "belongs to another account" in done.stderr


def test_what_is_no_file_is_told_of(place) -> None:
    place.parent.mkdir(parents=True)
    os.mkfifo(place)
    done = CliRunner().invoke(main, ["ls"])
    assert done.stderr.startswith("TPR-1160 ")
    place.unlink()
    place.mkdir()
    done = CliRunner().invoke(main, ["ls"])
    assert done.stderr.startswith("TPR-1160 ")


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "settings").write_text("a file")
    done = CliRunner().invoke(main, ["context", "rm", "a"])
    assert (done.exit_code, done.stderr[:8]) == (3, "TPR-1165"), done.stderr


@pytest.mark.parametrize(
    "variables", [{"HOME": "relative"}, {"HOME": "relative", "XDG_CONFIG_HOME": "relative"}]
)
def test_without_a_home(monkeypatch, variables) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["ls"])
    assert done.stderr.startswith("TPR-1401 "), "contexts are not needed"
    for arguments in (["context", "ls"], ["ls", "--context", "a"], ["unselect"]):
        done = CliRunner().invoke(main, arguments)
        assert (done.exit_code, done.stderr[:8]) == (3, "TPR-1163")


async def test_where_all_is_given_no_context_is_read(commands, place) -> None:
    keep(place, "broken", 0o644)
    house = await commands(asleep("one"))
    assert (await house.run("ls")).code == 0
    assert (await house.run("inspect", "one")).code == 0


async def test_two_processes_lose_nothing_of_each_others(place) -> None:
    script = (
        "import sys; from torpor_router.cli.contexts import file;"
        " from torpor_router.cli.contexts.book import Context\n"
        "for number in range(20):\n"
        "    with file.changing() as contexts:\n"
        "        contexts.by_name[f'{sys.argv[1]}-{number}'] = Context('localhost')\n"
    )
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, each)
        for each in ("a", "b")
    ]
    while any(each.returncode is None for each in running):
        file.read()  # whole at any time
        await asyncio.wait([asyncio.ensure_future(running[0].wait())], timeout=0.01)
        await asyncio.wait([asyncio.ensure_future(running[1].wait())], timeout=0.01)
    assert [each.returncode for each in running] == [0, 0]
    assert len(file.read().by_name) == 40
    assert {each.name for each in place.parent.iterdir()} == {"contexts.json", "contexts.lock"}


def test_a_link_stays_a_link(place, tmp_path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text(json.dumps({"contexts": {}}))
    real.chmod(0o600)
    place.parent.mkdir(parents=True)
    place.symlink_to(real)
    with file.changing() as contexts:
        contexts.by_name["a"] = Context("localhost")
    assert place.is_symlink()
    assert "localhost" in real.read_text()


async def complete(house, shell: str, *words: str, **environment: str) -> list[str]:
    """What a shell is offered for the last of the words."""
    variables = {"COMP_WORDS": " ".join(("satellite", *words)), "COMP_CWORD": str(len(words))}
    if shell == "fish":
        variables["COMP_CWORD"] = words[-1]
    run = CliRunner().invoke
    done = await asyncio.to_thread(
        run,
        main,
        [],
        prog_name="satellite",
        env={"_SATELLITE_COMPLETE": f"{shell}_complete", **house.environment, **variables}
        | environment,
    )
    assert done.stderr == ""
    return done.stdout.split()


async def test_shells_complete_names_of_satellites_and_contexts(commands, tmp_path) -> None:
    house, address = await logged_in(commands, asleep("one"), asleep("two"), asleep("other"))
    assert await complete(house, "bash", "wake", "o") == ["plain,one", "plain,other"]
    assert await complete(house, "fish", "wake", "t") == ["plain,two", "asleep"]
    assert (await complete(house, "zsh", "rm", "t"))[:2] == ["plain", "two"]
    assert await complete(house, "bash", "context", "use", "1") == [f"plain,{address}"]
    assert await complete(house, "bash", "ls", "--context", "1") == [f"plain,{address}"]
    silent = [
        {"TORPOR_ADDRESS": "127.0.0.1:1", "TORPOR_TOKEN": "acme"},
        {"TORPOR_ADDRESS": address, "TORPOR_TOKEN": "wrong"},
        {"TORPOR_ADDRESS": "none at all"},
        {"TORPOR_CA": str(tmp_path / "none.pem")},
        {"TORPOR_CONTEXT": "nowhere"},
    ]
    for environment in silent:
        assert await complete(house, "bash", "wake", "o", **environment) == [], environment


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_page_says_how_each_shell_learns_it(shell) -> None:
    page = (Path(__file__).parents[3] / "docs/cli.md").read_text(encoding="utf-8")
    assert f"_SATELLITE_COMPLETE={shell}_source satellite" in page
    done = CliRunner().invoke(
        main, [], prog_name="satellite", env={"_SATELLITE_COMPLETE": f"{shell}_source"}
    )
    assert "_SATELLITE_COMPLETE" in done.stdout
