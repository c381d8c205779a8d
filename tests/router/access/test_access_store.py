"""Orgs and tokens: made, listed, ended, and refused."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torpor_router.access.errors import (
    BadLifetime,
    OrgExists,
    TokenExists,
    UnknownOrg,
    UnknownToken,
    UnusableName,
)
from torpor_router.access.store import Store
from torpor_router.tokens import digest, mint
from torpor_statemachine.postgres.pool import Database

DAY = timedelta(days=1)
BAD_NAMES = ["", "Acme", "-acme", "acme-", "a" * 41, "acme/one", "a\0", "a\n", "ä"]


def test_a_token_is_long_random_and_recognisable() -> None:
    tokens = {mint() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"tpr_[A-Za-z0-9_-]{43}", token) for token in tokens)


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_a_digest_has_the_size_that_is_kept(token: str) -> None:
    assert len(digest(token)) == 32


async def test_a_token_is_kept_as_its_digest_only(store: Store, database: Database) -> None:
    await store.create_org("acme")
    token, text = await store.create_token("acme", "ci")
    [row] = await database.fetch("select * from tokens")
    assert row["hash"] == digest(text)
    assert text not in str(dict(row))
    assert text not in repr(token)


async def test_orgs_are_listed_with_what_they_can_use(store: Store, satellite, database) -> None:
    assert [org.name for org in (await store.create_org("b"), await store.create_org("a"))] == [
        "b",
        "a",
    ]
    await satellite("a/one")
    await satellite("a/gone", "terminated")
    await store.create_token("a", "valid")
    await store.create_token("a", "short", DAY)
    await store.create_token("a", "ended")
    await store.revoke_token("a", "ended")
    assert [(org.name, org.tokens, org.satellites) for org in await store.orgs()] == [
        ("a", 2, 1),
        ("b", 0, 0),
    ]


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_bad_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(UnusableName, match="TPR-1111"):
        await store.create_org(name)
    if name != "a" * 41:
        with pytest.raises(UnusableName):
            await store.create_token("acme", name)


async def test_names_are_given_once(store: Store) -> None:
    await store.create_org("acme")
    with pytest.raises(OrgExists, match="acme"):
        await store.create_org("acme")
    await store.create_token("acme", "ci")
    with pytest.raises(TokenExists, match="acme/ci"):
        await store.create_token("acme", "ci")


async def test_a_revoked_tokens_name_may_be_given_again(store: Store) -> None:
    await store.create_org("acme")
    for _ in range(2):
        await store.create_token("acme", "ci")
        await store.revoke_token("acme", "ci")
    assert await store.tokens("acme") == []
    assert [token.state for token in await store.tokens("acme", revoked=True)] == ["revoked"] * 2


async def test_what_is_not_there_is_said(store: Store) -> None:
    for call in (
        store.create_token("none", "ci"),
        store.tokens("none"),
        store.revoke_token("none", "ci"),
    ):
        with pytest.raises(UnknownOrg, match="none"):
            await call
    await store.create_org("acme")
    assert await store.tokens("acme") == []
    with pytest.raises(UnknownToken, match="acme/ci"):
        await store.revoke_token("acme", "ci")


@pytest.mark.parametrize("lifetime", [timedelta(0), -DAY, timedelta(days=4_000)])
async def test_a_lifetime_that_cannot_be_meant(store: Store, lifetime: timedelta) -> None:
    await store.create_org("acme")
    with pytest.raises(BadLifetime):
        await store.create_token("acme", "ci", lifetime)


async def test_tokens_say_whether_they_are_good(store: Store, database: Database) -> None:
    await store.create_org("acme")
    for name in ("a", "b", "c"):
        await store.create_token("acme", name, DAY if name == "b" else None)
    await database.execute("update tokens set expires_at = now() where name = 'b'")
    await store.revoke_token("acme", "c")
    tokens = await store.tokens(revoked=True)
    assert {token.name: token.state for token in tokens} == {
        "a": "valid",
        "b": "expired",
        "c": "revoked",
    }
    assert tokens[0].org == "acme"
