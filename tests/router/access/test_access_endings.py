"""A database that is restored from before a revocation is noticed."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

import pytest
from waiting import until

from torpor_router.access import endings as module
from torpor_router.access.endings import CERTIFICATE, FILE, TOKEN, Endings
from torpor_router.access.errors import UnreadableEndings
from torpor_router.access.members import Members
from torpor_router.access.revocations import Revocations
from torpor_router.access.roles import Role
from torpor_router.access.store import Store
from torpor_statemachine.postgres.pool import Database

_REVIVE = "update tokens set revoked_at = null where name = any($1::text[])"


@pytest.fixture
async def admin(database: Database) -> Store:
    store = Store(database)
    await store.create_org("acme")
    for name in ("laptop", "ci", "kept"):
        await store.create_token("acme", name)
    return store


async def test_a_token_that_lives_again_is_told_of_once_and_listed(
    admin: Store, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endings = Endings(database, tmp_path)
    await admin.revoke_token("acme", "laptop")
    await endings.keep()
    assert await endings.again() == []
    await database.execute(_REVIVE, ["laptop"])
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await endings.keep()
    assert caplog.text.count("TPR-5216") == 1
    assert "token acme laptop" in caplog.text
    [again] = await Endings(database, tmp_path).again()
    assert (again.kind, again.name) == (TOKEN, "acme laptop")
    await admin.revoke_token("acme", "laptop")
    assert await endings.again() == []


async def test_where_nothing_was_ended_yet_that_is_kept(
    admin: Store, database: Database, tmp_path: Path
) -> None:
    for _ in range(2):  # also by who comes next, another process of this machine
        await Endings(database, tmp_path).keep()
    assert (tmp_path / FILE).read_text() == "[]"
    assert await Endings(database, tmp_path).again() == []


async def test_a_certificate_counts_only_beside_a_token(
    admin: Store, database: Database, tmp_path: Path
) -> None:
    """It may be let in again on purpose, a token never."""
    endings, revocations = Endings(database, tmp_path), Revocations(database)
    await admin.revoke_token("acme", "ci")
    for certificate in ("2a", "2b"):
        await revocations.revoke(certificate, "stolen")
    await endings.keep()
    await revocations.restore("2a")
    await endings.keep()
    assert await endings.again() == []
    await revocations.restore("2b")
    await database.execute(_REVIVE, ["ci"])
    await endings.keep()  # and it stays known
    again = await endings.again()
    assert [(each.kind, each.id) for each in again if each.kind == CERTIFICATE] == [
        (CERTIFICATE, "2b")
    ]
    assert len(again) == 2
    await endings.forget()
    assert await endings.again() == []


async def test_a_removed_member_s_token_is_ended_and_an_expired_one_is_not(
    admin: Store, database: Database, tmp_path: Path
) -> None:
    members, endings = Members(database), Endings(database, tmp_path)
    await members.add("acme", "ann", Role.MEMBER)
    await admin.create_token("acme", "hers", role=Role.MEMBER, member="ann")
    await admin.create_token("acme", "brief", timedelta(hours=1))
    await members.remove("acme", "ann")
    await admin.revoke_token("acme", "brief")
    await endings.keep()
    await database.execute("update members set removed_at = null")
    await database.execute(_REVIVE, ["brief", "hers"])
    await database.execute("update tokens set expires_at = now() where name = 'brief'")
    assert [each.name for each in await endings.again()] == ["acme hers"]


async def test_several_processes_share_one_file(
    admin: Store, database: Database, tmp_path: Path
) -> None:
    await admin.revoke_token("acme", "laptop")
    await asyncio.gather(*(Endings(database, tmp_path).keep() for _ in range(6)))
    await admin.revoke_token("acme", "ci")
    await asyncio.gather(*(Endings(database, tmp_path).keep() for _ in range(6)))
    await database.execute(_REVIVE, ["ci", "laptop"])
    assert len(await Endings(database, tmp_path).again()) == 2
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"kind": "token"}]', '{"a": 1}'])
async def test_a_file_that_cannot_be_read_is_told_of_and_kept(
    database: Database, tmp_path: Path, text: str
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UnreadableEndings):
        await Endings(database, tmp_path).keep()
    assert (tmp_path / FILE).read_text() == text


async def test_it_is_kept_while_the_router_runs_and_no_oftener_than_need_be(
    admin: Store, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 0.05)
    (await admin.revoke_token("acme", "laptop"))
    endings = Endings(database, tmp_path)
    keeping = asyncio.create_task(endings.keep_for_ever())
    try:
        async with asyncio.timeout(60):
            while not (tmp_path / FILE).exists() or "laptop" not in (tmp_path / FILE).read_text():
                await asyncio.sleep(0.01)
            await admin.revoke_token("acme", "ci")
            await until(lambda: "acme ci" in (tmp_path / FILE).read_text())
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    os.utime(tmp_path / FILE)
    monkeypatch.setattr(module, "EVERY", 3600.0)
    assert endings._is_fresh()
