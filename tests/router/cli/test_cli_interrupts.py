"""Ctrl-C in a command of `torpor` that waits: what was begun goes on, and it says so."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import pytest
from waiting import LONG, until


@pytest.fixture
async def acme(torpor: Any, database: Any) -> None:
    """A node that carries nothing out, and a satellite that sleeps."""
    await torpor("org", "create", "acme")
    await database.execute(
        """
        insert into nodes (id, expires_at, leases_until, version, phase, provisioners)
        values ('11111111-0000-0000-0000-000000000000', now() + '1 hour', now(), '1', 'serving',
            '{local}')
        """
    )
    await database.execute(
        "insert into satellites (org_id, name, provisioner, arch, state, sleep_kind)"
        " select id, 'one', 'local', 'x86_64', 'asleep', 'stopped' from orgs"
    )


@pytest.mark.parametrize(
    ("arguments", "shows", "kept"),
    [
        (("drain", "1111"), "torpor nodes ls", "select drain = 'drain' from nodes"),
        (
            ("fleet", "wake", "acme/one"),
            "torpor fleet inspect acme/one",
            "select state = 'waking' from satellites",
        ),
    ],
)
async def test_what_was_begun_goes_on(
    acme: None,
    database: Any,
    database_url: str,
    arguments: tuple[str, ...],
    shows: str,
    kept: str,
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torpor_router.cli.torpor", *arguments),
        env={**os.environ, "TORPOR_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    begun = "select count(*) from audit where action in ('Operators.DrainNode', 'Satellites.Wake')"

    async def has_begun() -> bool:
        return bool(await database.fetchval(begun))

    await until(has_begun)
    process.send_signal(signal.SIGINT)
    out, errors = await asyncio.wait_for(process.communicate(), LONG)
    assert (process.returncode, out) == (130, b""), errors
    assert f"It goes on without you; '{shows}' shows how far it is." in errors.decode()
    assert "Traceback" not in errors.decode()
    assert await database.fetchval(kept) is True
