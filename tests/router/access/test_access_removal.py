"""The end of an org, and a token that takes another's place."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.fernet import Fernet

from torpor_router.access.directory import Directory
from torpor_router.access.errors import BadLifetime, TokenEnded, UnknownOrg, UnknownToken
from torpor_router.access.members import Members
from torpor_router.access.oidc.rules import NewTrustRule
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.removal import Removal
from torpor_router.access.roles import Role
from torpor_router.access.store import Store
from torpor_router.notices.sealing import Seal
from torpor_router.notices.webhooks import Webhooks

HOUR = timedelta(hours=1)


async def test_an_org_loses_all_that_lets_anyone_in_and_then_its_name(
    database, store: Store, satellite
) -> None:
    one = await satellite("acme/one", "asleep")
    await satellite("acme/old", "terminated")
    _, text = await store.create_token("acme", "ci")
    await Members(database).add("acme", "ann", Role.MEMBER)
    await TrustRules(database).add(
        "acme", NewTrustRule("app", "https://ci.example.com", "torpor", "repo:acme/*", Role.CI, {})
    )
    await Webhooks(database, Seal([Fernet.generate_key()])).add("acme", "ops", "https://a.example")
    removal = Removal(database)
    has = await removal.belongings("acme")
    assert str(has) == "the satellites one and their disks; 1 tokens; 1 members; 1 trust rules"
    await removal.close(has.id)
    async with Directory(database) as directory:
        with pytest.raises(TokenEnded):
            await directory.caller(text)
    assert await Members(database).all("acme") == await TrustRules(database).all("acme") == []
    assert await Webhooks(database, None).all() == []
    assert not await removal.free(has.id), "its satellite is there still"
    await database.execute("update satellites set state = 'terminating' where id = $1", one)
    assert await removal.free(has.id)
    for name in ("acme", f"acme~{str(has.id)[:8]}"):
        with pytest.raises(UnknownOrg):
            await removal.belongings(name)
        with pytest.raises(UnknownOrg):
            await store.org(name)
    assert (await store.create_org("acme")).id != has.id
    assert [org.name for org in await store.orgs()] == ["acme"]
    assert await removal.prune() == 0, "its satellites have a history"
    await database.execute("delete from satellites")
    assert await removal.prune() == 1
    assert await database.fetchval("select count(*) from orgs") == 1


async def test_a_rotated_token_overlaps_with_the_one_before(database, store: Store) -> None:
    await store.create_org("acme")
    old, before = await store.create_token(
        "acme", "ci", timedelta(days=30), role=Role.CI, satellites=["one"]
    )
    made, text = await store.rotate_token("acme", "ci", HOUR)
    assert (made.name, made.role, made.satellites) == ("ci", "ci", ["one"])
    assert abs(made.expires_at - made.created_at - timedelta(days=30)) < timedelta(seconds=1)
    async with Directory(database) as directory:
        assert (await directory.caller(text)).name == "token:ci"
        assert (await directory.caller(before)).name == f"token:ci.old-{str(old.id)[:8]}"
    ending = await store.token("acme", f"ci.old-{str(old.id)[:8]}")
    assert ending is not None
    assert ending.expires_at - made.created_at <= HOUR
    again, _ = await store.rotate_token("acme", "ci", HOUR, timedelta(days=1))
    assert abs(again.expires_at - again.created_at - timedelta(days=1)) < timedelta(seconds=1)


async def test_a_token_that_has_leaked_is_replaced_at_once(database, store: Store) -> None:
    await store.create_org("acme")
    for org in ("acme", ""):
        role = Role.CI if org else Role.OPERATOR
        _, before = await store.create_token(org, "x" * 64, role=role)
        made, text = await store.rotate_token(org, "x" * 64, timedelta())
        assert (made.role, made.expires_at) == (role, None)
        async with Directory(database) as directory:
            await directory.caller(text)
            with pytest.raises(TokenEnded):
                await directory.caller(before)


async def test_what_cannot_be_rotated(database, store: Store) -> None:
    await store.create_org("acme")
    await store.create_token("acme", "job")
    await database.execute("update tokens set subject = 'repo:acme/app'")
    with pytest.raises(UnknownToken):
        await store.rotate_token("acme", "job", HOUR)
    with pytest.raises(UnknownOrg):
        await store.rotate_token("none", "job", HOUR)
    for overlap, lifetime in ((-HOUR, None), (HOUR, timedelta()), (timedelta(days=9_000), None)):
        with pytest.raises(BadLifetime):
            await store.rotate_token("acme", "job", overlap, lifetime)
