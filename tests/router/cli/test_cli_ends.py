"""What an operator's commands end: asked for by name, and not by accident."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from waiting import LONG

END = [["org", "rm", "acme"], ["fleet", "rm", "acme/one"]]


@pytest.fixture
async def acme(torpor, database) -> None:
    await torpor("org", "create", "acme")
    await torpor("token", "create", "acme", "ci")
    await database.execute(
        "insert into satellites (org_id, name, provisioner, arch, state)"
        " select id, 'one', 'local', 'x86_64', 'failed' from orgs"
    )


def typed(arguments: list[str], url: str, answer: str) -> tuple[int, str]:
    """The exit code, and what a terminal shows, where a person types this answer."""
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "torpor_router.cli.torpor", *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        env={**os.environ, "TORPOR_DATABASE_URL": url},
    ) as process:
        os.close(end)
        shown = b""
        while b"to confirm" not in shown:
            shown += os.read(terminal, 1_000)
        os.write(terminal, f"{answer}\n".encode())
        code = process.wait(LONG)
    shown += os.read(terminal, 4_096)
    os.close(terminal)
    return code, shown.decode()


@pytest.mark.parametrize("arguments", END)
async def test_without_a_terminal_it_needs_yes(torpor, database, acme, arguments) -> None:
    done = await torpor(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    assert await database.fetchval("select state from satellites") == "failed"
    assert await database.fetchval("select count(*) from tokens where revoked_at is null") == 1


@pytest.mark.parametrize("arguments", END)
async def test_on_a_terminal_it_wants_the_name(database, database_url, acme, arguments) -> None:
    code, shown = typed(arguments, database_url, "something else")
    assert (code, "TPR-1147" in shown) == (3, True)
    assert "one" in shown, "what is lost"
    assert await database.fetchval("select state from satellites") == "failed"


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["org", "rm", "none", "--yes"], "TPR-1112", 3),
        (["fleet", "rm", "acme/none", "--yes"], "TPR-2009", 3),
        (["fleet", "wake", "none/one"], "TPR-1112", 3),
        (["fleet", "wake", "one"], "TPR-1002", 2),
        (["fleet", "wake", "acme/one"], "TPR-2007", 3),
        (["fleet", "inspect", "acme/"], "TPR-1002", 2),
        (["token", "rotate", "acme", "none"], "TPR-1115", 3),
    ],
)
async def test_what_is_not_there(either_way, acme, arguments, code: str, exit_code: int) -> None:
    done = await either_way(*arguments)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert code in done.stderr


async def test_a_token_is_rotated(either_way, acme) -> None:
    done = await either_way("token", "rotate", "acme", "ci")
    assert done.stdout.startswith("tpr_")
    assert "The old one ends in 1h" in done.stderr
    assert "has ended" in (await either_way("token", "rotate", "acme", "ci", "--now")).stderr
    listed = (await either_way("token", "ls", "acme")).stdout.splitlines()
    assert [line.split()[1].partition(".old")[0] for line in listed[1:]] == ["ci", "ci"]
