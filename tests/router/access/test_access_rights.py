"""The door by roles: who may build on what, and how fast a change is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from torpor_provisioner.errors import TorporError
from torpor_router.access.audit import Audit
from torpor_router.access.directory import Directory
from torpor_router.access.errors import (
    BadToken,
    CertificateRevoked,
    OtherOrg,
    RoleForbids,
    TokenEnded,
    TokenForOthers,
    UnknownOrg,
)
from torpor_router.access.issued import IssuedCertificates
from torpor_router.access.members import Members
from torpor_router.access.roles import RIGHTS, Right, Role
from torpor_router.access.store import Store
from torpor_router.routing import Ask, Certificate
from torpor_router.tokens import digest

LONG = 60.0  # seconds until a test is called broken
FINGERPRINT = "ab" * 32


@pytest.fixture
async def directory(database) -> AsyncIterator[Directory]:
    async with Directory(database) as directory:
        yield directory


@pytest.fixture
async def orgs(store: Store, satellite) -> Store:
    for name in ("acme/one", "acme/two", "globex/one"):
        await satellite(name)
    return store


async def outcome(directory: Directory, ask: Ask) -> type[TorporError] | None:
    try:
        await directory.route(ask)
    except TorporError as error:
        return type(error)
    return None


async def becomes(directory: Directory, ask: Ask, expected: type[TorporError] | None) -> None:
    async with asyncio.timeout(LONG):
        while await outcome(directory, ask) is not expected:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("role", Role)
async def test_each_role_at_the_door(directory, orgs, role) -> None:
    org = "" if role is Role.OPERATOR else "acme"
    _, token = await orgs.create_token(org, "t", role=role)
    may = Right.BUILD in RIGHTS[role]
    of = {
        satellite: await outcome(directory, Ask(*satellite.split("/"), digest(token)))  # type: ignore[arg-type, call-arg]
        for satellite in ("acme/one", "globex/one", "globex/none")
    }
    if role is Role.OPERATOR:
        assert of == dict.fromkeys(of, RoleForbids)
    else:
        assert of == {
            "acme/one": None if may else RoleForbids,
            "globex/one": OtherOrg,
            "globex/none": OtherOrg,
        }


async def test_a_token_for_one_satellite_opens_that_one_alone(directory, orgs) -> None:
    _, token = await orgs.create_token("acme", "t", role=Role.CI, satellites=["one", "later"])
    assert await outcome(directory, Ask("acme", "one", digest(token))) is None
    assert await outcome(directory, Ask("acme", "two", digest(token))) is TokenForOthers
    assert await outcome(directory, Ask("acme", "none", digest(token))) is TokenForOthers


async def test_a_token_that_is_narrowed_is_narrow_at_once(directory, orgs) -> None:
    _, token = await orgs.create_token("acme", "t")
    ask = Ask("acme", "two", digest(token))
    assert await outcome(directory, ask) is None
    await orgs.narrow_token("acme", "t", Role.CI, ["one"])
    await becomes(directory, ask, TokenForOthers)
    await orgs.narrow_token("acme", "t", Role.VIEWER, None)
    await becomes(directory, ask, RoleForbids)


async def test_a_members_tokens_follow_the_member(directory, orgs, database) -> None:
    members = Members(database)
    await members.add("acme", "ann", Role.MEMBER)
    _, token = await orgs.create_token("acme", "laptop", role=Role.ADMIN, member="ann")
    ask = Ask("acme", "one", digest(token))
    assert (await directory.route(ask)).caller == "user:ann/laptop"
    caller = await directory.caller(token)
    assert Right.BUILD in caller.grant.rights
    assert Right.END not in caller.grant.rights, "no more than the member"
    await members.change("acme", "ann", Role.VIEWER)
    await becomes(directory, ask, RoleForbids)
    await members.remove("acme", "ann")
    await becomes(directory, ask, TokenEnded)


async def test_a_certificate_may_do_what_its_record_says(directory, orgs, database) -> None:
    ask = Ask("acme", "one", None, Certificate("acme", None, "1", FINGERPRINT))
    assert await outcome(directory, ask) is None, "one without a record builds"
    issued = IssuedCertificates(database)
    await issued.record("acme", FINGERPRINT, Role.VIEWER)
    await becomes(directory, ask, RoleForbids)
    await issued.record("acme", FINGERPRINT, Role.MEMBER)
    await becomes(directory, ask, None)
    with pytest.raises(UnknownOrg):
        await issued.record("nobody", FINGERPRINT, Role.MEMBER)


async def test_a_certificate_got_with_a_token_is_worth_no_more_than_that(
    directory, orgs, database
) -> None:
    token, _ = await orgs.create_token("acme", "t", role=Role.CI, satellites=["one"])
    await database.execute(
        "insert into issued_certificates (fingerprint, org_id, role, token_id)"
        " select $1, org_id, 'admin', id from tokens where id = $2",
        FINGERPRINT,
        token.id,
    )
    certificate = Certificate("acme", None, "1", FINGERPRINT)
    one, two = Ask("acme", "one", None, certificate), Ask("acme", "two", None, certificate)
    assert await outcome(directory, one) is None
    assert await outcome(directory, two) is TokenForOthers
    await orgs.revoke_token("acme", "t")
    await becomes(directory, one, CertificateRevoked)


async def test_an_operator_names_the_org_that_a_call_is_about(directory, orgs) -> None:
    _, token = await orgs.create_token("", "ops", role=Role.OPERATOR)
    assert (await directory.caller(token)).org == ""
    caller = await directory.caller(token, org="acme")
    assert (caller.org, caller.name) == ("acme", "operator:ops")
    with pytest.raises(UnknownOrg):
        await directory.caller(token, org="nobody")
    _, own = await orgs.create_token("acme", "t")
    assert (await directory.caller(own, org="acme")).org == "acme"
    for other in ("globex", "nobody"):
        with pytest.raises(OtherOrg):
            await directory.caller(own, org=other)


async def test_a_tokens_last_use_is_known(directory, orgs, database) -> None:
    _, token = await orgs.create_token("acme", "used")
    await orgs.create_token("acme", "unused")
    await directory.route(Ask("acme", "one", digest(token)))
    async with asyncio.timeout(LONG):
        while (used := {each.name: each.used_at for each in await orgs.tokens("acme")})[
            "used"
        ] is None:
            await asyncio.sleep(0.05)
    assert used["unused"] is None
    assert abs(await database.fetchval("select now()") - used["used"]) < timedelta(minutes=5)


async def test_a_refused_action_stands_in_the_audit_log(database, orgs) -> None:
    _, token = await orgs.create_token("acme", "t", role=Role.VIEWER)
    async with Audit(database) as audit, Directory(database, audit=audit) as directory:
        for ask in (Ask("acme", "one", digest(token)), Ask("globex", "one", digest(token))):
            assert await outcome(directory, ask) in (RoleForbids, OtherOrg)
        with pytest.raises(OtherOrg):
            await directory.caller(token, org="globex")
        assert await outcome(directory, Ask("acme", "one", digest("wrong"))) is BadToken
    assert [(e.org, e.actor, e.action, e.target, e.result) for e in await audit.read()] == [
        ("acme", "token:t", "door", "acme/one", "TPR-1130"),
        ("acme", "token:t", "door", "globex/one", "TPR-1103"),
        ("acme", "token:t", "call", "globex/", "TPR-1103"),
    ]
