"""Members of orgs, as an administrator changes them."""

from __future__ import annotations

import pytest

from torpor_router.access.errors import (
    MemberExists,
    TokenExists,
    UnknownMember,
    UnknownOrg,
    UnknownToken,
    UnusableName,
)
from torpor_router.access.members import Members
from torpor_router.access.roles import Role


@pytest.fixture
async def members(database, store) -> Members:
    await store.create_org("acme")
    return Members(database)


async def test_a_member_is_added_changed_and_removed(members, store) -> None:
    made = await members.add("acme", "ann", Role.MEMBER)
    assert (made.org, made.name, made.kind, made.role, made.tokens) == (
        *("acme", "ann", "user", "member"),
        0,
    )
    await members.add("acme", "deploy", Role.CI, service=True)
    await store.create_token("acme", "laptop", role=Role.MEMBER, member="ann")
    assert [(m.name, m.kind, m.role, m.tokens) for m in await members.all("acme")] == [
        ("ann", "user", "member", 1),
        ("deploy", "service", "ci", 0),
    ]
    assert (await members.change("acme", "ann", Role.VIEWER)).role == "viewer"
    await members.remove("acme", "ann")
    assert [m.name for m in await members.all("acme")] == ["deploy"]
    again = await members.add("acme", "ann", Role.CI)
    assert again.id != made.id, "another person of that name"
    assert again.tokens == 0


async def test_what_cannot_be_done_to_members(members, store) -> None:
    await members.add("acme", "ann", Role.MEMBER)
    with pytest.raises(MemberExists):
        await members.add("acme", "ann", Role.CI)
    with pytest.raises(UnknownOrg):
        await members.add("nobody", "ann", Role.CI)
    with pytest.raises(UnknownOrg):
        await members.all("nobody")
    for name in ("", "Ann", "a/b", "x" * 100):
        with pytest.raises(UnusableName):
            await members.add("acme", name, Role.CI)
    with pytest.raises(UnknownMember):
        await members.change("acme", "bob", Role.CI)
    with pytest.raises(UnknownMember):
        await members.remove("acme", "bob")
    with pytest.raises(UnknownMember):
        await store.create_token("acme", "t", role=Role.CI, member="bob")
    with pytest.raises(UnknownOrg):
        await store.create_token("nobody", "t", role=Role.CI)
    for satellites in ([], ["Bad Name"], ["x"] * 101):
        with pytest.raises(UnusableName):
            await store.create_token("acme", "t", satellites=satellites)


async def test_an_operators_token_is_of_no_org(members, store) -> None:
    await store.create_token("", "ops", role=Role.OPERATOR)
    with pytest.raises(TokenExists):
        await store.create_token("", "ops", role=Role.OPERATOR)
    assert await store.tokens() == []
    [token] = await store.tokens(operators=True)
    assert (token.org, token.name, token.role) == ("", "ops", "operator")
    with pytest.raises(UnknownOrg):
        await store.create_token("", "t", role=Role.ADMIN)
    await store.revoke_token("", "ops")
    with pytest.raises(UnknownToken):
        await store.revoke_token("", "ops")


async def test_a_token_from_before_roles_says_so_until_it_is_narrowed(members, store, database):
    await store.create_token("acme", "old")
    await database.execute("update tokens set role = null")
    [token] = await store.tokens("acme")
    assert (token.role, token.from_before_roles) == ("admin", True)
    narrowed = await store.narrow_token("acme", "old", Role.CI, ["two", "one", "two"])
    assert (narrowed.role, narrowed.from_before_roles) == ("ci", False)
    assert narrowed.satellites == ["one", "two"]
