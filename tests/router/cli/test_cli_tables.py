"""Every table of `torpor` on a real terminal: no line is broken by it, and no word is lost."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from terminals import read_until_closed
from waiting import LONG

NODE = UUID("11111111" + "0" * 24)
ORG = "an-org-with-a-name"
SATELLITE = "a-satellite-with-a-long-name"
NAME = "a-name-that-says-what-it-is-for"
ISSUER = "https://token.actions.githubusercontent.com"
MADE = f"""
org create {ORG}
member add {ORG} {NAME} --role admin
token create {ORG} {NAME} --expires 1d
trust add {ORG} {NAME} --issuer {ISSUER} --audience torpor --subject repo:{ORG}/{NAME}:ref:*
ca init
ca issue {ORG}/{SATELLITE} --for 1h
cert revoke 1234abcd --reason lost
pause-sleep on --org {ORG} --for 1h --reason moved
limit set {ORG} --machines 1000000 --awake 1000000 --wakes-per-hour 1000000
""".strip().splitlines()
# what is printed, and the words of it that nobody can do without
TABLES = {
    "org ls": (ORG,),
    f"member ls {ORG}": (NAME, "admin"),
    f"token ls {ORG}": (ORG, NAME, "valid"),
    f"trust ls {ORG}": (NAME, ISSUER),
    "audit": (ORG, NAME, "Access.AddTrustRule"),
    "ca ls": (ORG, "valid"),
    "cert ls": ("1234abcd", "lost"),
    "pause-sleep ls": (ORG, "moved"),
    "limit ls": (ORG, "1000000"),
    "nodes ls": ("11111111", "a-node.example.com:8372"),
    "fleet ls": (f"{ORG}/{SATELLITE}", "running", "TPR-2205"),
    f"fleet inspect {ORG}/{SATELLITE}": (SATELLITE, "running", "token:ci", "asked"),
    f"fleet why {ORG}/{SATELLITE}": (SATELLITE, "token:ci", "/moby.buildkit.v1.Control/Solve"),
    f"fleet history {ORG}/{SATELLITE}": ("asked", "token:ci"),
    "fleet strays": ("i-0123456789abcdef0", "local"),
    "usage": (f"{ORG}/{SATELLITE}",),
}
_PROGRAM = """
import sys
from torpor_router.cli.torpor import main
for line in sys.argv[1:]:
    print("$", flush=True)
    main(line.split(), standalone_mode=False)
"""


@pytest.fixture
async def fleet(
    torpor: Any, database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in MADE:
        done = await torpor(*line.split())
        assert done.exit_code == 0, (line, done.output)
    await database.execute(
        """
        insert into nodes (id, expires_at, leases_until, version, listens, phase, streams, lag)
        values ($1, now() + interval '1 hour', now() + interval '1 hour', '1.2.3',
            'a-node.example.com:8372', 'serving', 12, 0.5)
        """,
        NODE,
    )
    made = await database.fetchval(
        """
        insert into satellites (org_id, name, provisioner, arch, state, failure)
        select id, $1, 'local', 'x86_64', 'running', 'TPR-2205 i-0123456789abcdef0' from orgs
        returning id
        """,
        SATELLITE,
    )
    await database.execute(
        """
        insert into leases (satellite_id, node_id, streams, reported_at) values ($1, $2,
            '{"count": 3, "by":
                [["token:ci", "/moby.buildkit.v1.Control/Solve", "10.0.0.7", 3, 9.0]]}', now())
        """,
        *(made, NODE),
    )
    await database.execute(
        """
        insert into transitions (satellite_id, epoch, event, source, target, actor, reason)
        values ($1, 1, 'wake', 'asleep', 'running', 'token:ci', 'asked')
        """,
        made,
    )
    await database.execute(
        "insert into strays (provisioner, ref, satellite_id, generation)"
        " values ('local', 'i-0123456789abcdef0', $1, 1)",
        uuid4(),
    )


async def on_terminal(columns: int, url: str) -> str:
    """All the tables, one after the other, as a terminal of that width is given them."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    own = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, *TABLES),
        env={**own, "TORPOR_DATABASE_URL": url, "TERM": "xterm", "NO_COLOR": "1"},
        stdout=theirs,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    shown = await read_until_closed(ours)
    _, errors = await asyncio.wait_for(process.communicate(), LONG)
    assert process.returncode == 0, errors.decode()
    return shown.decode()


@pytest.mark.parametrize("columns", [80, 50])
async def test_every_table_fits_and_loses_no_word(
    fleet: None, database_url: str, columns: int
) -> None:
    _, *tables = (await on_terminal(columns, database_url)).split("$\r\n")
    for (command, words), table in zip(TABLES.items(), tables, strict=True):
        lines = table.split("\r\n")
        assert max(map(len, lines)) <= columns, (command, lines)
        assert "\x1b" not in table, "NO_COLOR"
        assert "…" not in table, command
        whole = _unbroken(table)  # one that is longer than the line goes on in the next
        assert [word for word in words if _unbroken(word) not in whole] == [], (command, lines)


def _unbroken(text: str) -> str:
    return "".join(text.split())
