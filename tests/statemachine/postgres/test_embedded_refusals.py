"""What the embedded Postgres cannot serve, and what it says then."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pgkit.owners import refused, running
from waiting import LONG

from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.embedded.account import Account
from torpor_statemachine.postgres.embedded.errors import (
    FolderInUse,
    FolderOfAnotherVersion,
    FolderUnusable,
    PostgresFailed,
)


async def test_a_folder_of_another_version_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    account = Account.for_this_process()
    os.chown(data, account.uid, account.gid)
    (data / "PG_VERSION").write_text("9\n")
    assert "by 9" in await refused(tmp_path, FolderOfAnotherVersion)
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]


async def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in await refused(tmp_path / "file" / "below", FolderUnusable)
    empty = tmp_path / "empty"
    (empty / "data").mkdir(parents=True, mode=0o700)
    account = Account.for_this_process()
    os.chown(empty / "data", account.uid, account.gid)
    assert "holds no data" in await refused(empty, FolderUnusable)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "server.json").write_text("{")
    await refused(broken, FolderUnusable)


async def test_broken_data_is_told_in_the_servers_own_words(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    (tmp_path / "data" / "global" / "pg_control").write_bytes(b"broken")
    assert "pg_control" in await refused(tmp_path, PostgresFailed)
    async with asyncio.timeout(LONG):  # nothing of the failed start is left
        await refused(tmp_path, PostgresFailed)


async def test_a_setting_that_postgres_does_not_know_is_told(tmp_path: Path) -> None:
    recorded = await refused(tmp_path, PostgresFailed, settings={"no_such_setting": "1"})
    assert "no_such_setting" in recorded


async def test_a_folder_whose_owner_does_not_serve_is_in_use(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("torpor_statemachine.postgres.embedded.server.WAIT_FOR_OTHER", 0.3)
    holder = EmbeddedPostgres(tmp_path)._folder
    holder.prepare()
    held = holder.own()
    assert held is not None
    try:
        assert str(tmp_path) in await refused(tmp_path, FolderInUse)
    finally:
        os.close(held)
