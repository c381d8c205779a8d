"""CI jobs without secrets, against an issuer that signs real tokens over real HTTPS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from issuerkit.issuer import Issuer

from torpor_provisioner.errors import TorporError
from torpor_router.access.audit import Audit
from torpor_router.access.directory import Directory
from torpor_router.access.errors import BadToken, OrgNotNamed, OtherOrg, RoleForbids, TokenEnded
from torpor_router.access.housekeeping import Housekeeping
from torpor_router.access.oidc.errors import (
    AssertionRefused,
    AssertionReplayed,
    IssuerAway,
    NoRuleMatches,
    TrustRuleExists,
    UnknownTrustRule,
)
from torpor_router.access.oidc.exchange import Exchange
from torpor_router.access.oidc.issuers import Issuers
from torpor_router.access.oidc.rules import NewTrustRule
from torpor_router.access.oidc.store import TrustRules
from torpor_router.access.roles import Role
from torpor_router.access.store import Store
from torpor_router.routing import Ask
from torpor_router.tokens import digest

LONG = 60.0  # seconds until a test is called broken


@dataclass
class House:
    """acme, which trusts an issuer, and globex, which does not."""

    issuer: Issuer
    issuers: Issuers
    rules: TrustRules
    exchange: Exchange
    directory: Directory
    audit: Audit
    now: list[float]

    async def trust(self, org: str = "acme", **changed: Any) -> None:
        whole = {
            "name": "app",
            "issuer": self.issuer.url,
            "audience": "torpor",
            "subject": "repo:acme/app:*",
            "role": Role.CI,
            "claims": {},
            **changed,
        }
        await self.rules.add(org, NewTrustRule(**whole))

    async def shown(self, token: str, org: str = "acme", satellite: str = "one") -> str:
        """The caller, where the token opens a stream."""
        ask = Ask(org, satellite, digest(token))
        return (await self.directory.route(ask, "192.0.2.1:1", lambda: token)).caller


@pytest.fixture
async def house(database, satellite) -> AsyncIterator[House]:
    for name in ("acme/one", "acme/two", "globex/one"):
        await satellite(name)
    now = [1_000.0]
    async with Issuer().running() as issuer, Audit(database) as audit:
        issuers = Issuers(lambda: now[0], issuer.context)
        rules = TrustRules(database)
        exchange = Exchange(rules, lambda: issuers, audit)
        async with Directory(database, audit=audit, exchange=exchange) as directory:
            yield House(issuer, issuers, rules, exchange, directory, audit, now)


async def test_a_job_gets_a_token_for_its_identity(house, database) -> None:
    await house.trust(satellites=("one",))
    given = await house.exchange.exchange(house.issuer.token(), address="192.0.2.1:1")
    assert (given.org, given.role, given.lifetime) == ("acme", "ci", 3_600)
    assert await house.shown(given.token) == "oidc:repo:acme/app:ref:refs/heads/main"
    with pytest.raises(TorporError, match="TPR-1131"):
        await house.shown(given.token, satellite="two")
    with pytest.raises(OtherOrg):
        await house.shown(given.token, "globex")
    [token] = await Store(database).tokens("acme")
    assert token.subject == "repo:acme/app:ref:refs/heads/main"
    [entry] = await house.audit.read("acme")
    assert (entry.actor, entry.action, entry.target, entry.address) == (
        *("oidc:repo:acme/app:ref:refs/heads/main", "exchange", "app"),
        "192.0.2.1:1",
    )


async def test_an_identity_token_is_good_in_a_tokens_place(house, database) -> None:
    await house.trust()
    token = house.issuer.token()
    assert await house.shown(token) == "oidc:repo:acme/app:ref:refs/heads/main"
    assert await house.shown(token, satellite="two")
    assert house.issuer.requests == 2, "discovery and keys, once"
    assert (await house.directory.caller(token)).org == "acme"
    other = house.issuer.token(sub="repo:acme/app:pull_request")
    assert (await house.directory.caller(other)).name == "oidc:repo:acme/app:pull_request"
    assert await database.fetchval("select max(expires_at) < now() + interval '301 s' from tokens")
    await database.execute("update tokens set expires_at = now()")
    async with asyncio.timeout(LONG):
        while True:
            try:
                await house.shown(token)
            except TokenEnded:
                break
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"exp": 1_000_000_000}, AssertionRefused),
        ({"exp": None}, AssertionRefused),
        ({"exp": "soon"}, AssertionRefused),
        ({"nbf": 10_000_000_000}, AssertionRefused),
        ({"iat": 10_000_000_000}, AssertionRefused),
        ({"exp": float("nan")}, AssertionRefused),
        ({"exp": float("inf")}, AssertionRefused),
        ({"exp": 1e18}, AssertionRefused),
        ({"exp": True}, AssertionRefused),
        ({"iat": float("nan")}, AssertionRefused),
        ({"nbf": -1}, AssertionRefused),
        ({"iss": "https://\0"}, AssertionRefused),
        ({"iss": "x" * 501}, AssertionRefused),
        ({"sub": "a\0b"}, AssertionRefused),
        ({"sub": ""}, AssertionRefused),
        ({"aud": {"torpor": 1}}, NoRuleMatches),
        ({"sub": None}, AssertionRefused),
        ({"sub": "x" * 501}, AssertionRefused),
        ({"sub": 5}, AssertionRefused),
        ({"aud": "other"}, NoRuleMatches),
        ({"iss": "https://elsewhere.example.com"}, NoRuleMatches),
        ({"iss": None}, AssertionRefused),
        ({"sub": "repo:evil/app:ref:refs/heads/main"}, NoRuleMatches),
    ],
    ids=str,
)
async def test_whom_the_issuer_did_not_mean(house, database, changed, refusal) -> None:
    await house.trust()
    token = house.issuer.token(**changed)
    with pytest.raises(refusal):
        await house.exchange.exchange(token)
    with pytest.raises(refusal):
        await house.shown(token)
    assert await database.fetchval("select count(*) from tokens") == 0


async def test_what_the_issuer_did_not_sign(house) -> None:
    await house.trust()
    issuer = house.issuer
    stranger = Issuer()
    whole = issuer.token()
    head, body, signature = whole.split(".")
    other_body = issuer.token(sub="repo:acme/app:other").split(".")[1]
    for token in (
        issuer.unsigned(),
        issuer.confused(),
        issuer.token(stranger.keys[0]),
        f"{head}.{other_body}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        "eyJ.eyJ.x",
        f"{head}..{signature}",
        "eyJhbGciOiJSUzI1NiJ9.W10.x",
        "eyJ" + "x" * 5_000 + "..",
    ):
        with pytest.raises(AssertionRefused):
            await house.exchange.exchange(token)


async def test_an_org_that_trusts_nobody_takes_no_identity(house) -> None:
    token = house.issuer.token()
    for asked in (house.exchange.exchange(token), house.shown(token)):
        with pytest.raises(NoRuleMatches):
            await asked
    assert house.issuer.requests == 0, "nobody is asked whom no rule names"
    await house.trust()
    with pytest.raises(NoRuleMatches):
        await house.exchange.exchange(token, "globex")
    with pytest.raises(NoRuleMatches):
        await house.shown(token, "globex")


async def test_several_orgs_that_trust_one_identity(house) -> None:
    await house.trust("acme")
    await house.trust("globex", role=Role.VIEWER)
    token = house.issuer.token()
    with pytest.raises(OrgNotNamed):
        await house.exchange.exchange(token)
    assert (await house.exchange.exchange(token, "globex")).role == "viewer"
    assert await house.shown(token, "acme")
    with pytest.raises(OtherOrg):
        await house.shown(token, "globex")
    with pytest.raises(RoleForbids):
        await house.shown(house.issuer.token(), "globex")


async def test_each_identity_token_once_where_that_is_asked(house) -> None:
    await house.trust(once=True)
    token = house.issuer.token()
    tried = await asyncio.gather(
        *(house.exchange.exchange(token) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in tried) == [
        *["AssertionReplayed"] * 3,
        "Given",
    ]
    with pytest.raises(AssertionReplayed):
        await house.shown(house.issuer.token())
    for jti in (None, "", "x" * 501, "a\0b", 5):
        with pytest.raises(AssertionRefused):
            await house.exchange.exchange(house.issuer.token(jti=jti))


async def test_a_rule_that_is_removed_takes_its_tokens_along(house) -> None:
    await house.trust()
    given = await house.exchange.exchange(house.issuer.token())
    assert await house.shown(given.token)
    with pytest.raises(TrustRuleExists):
        await house.trust()
    await house.rules.remove("acme", "app")
    with pytest.raises(UnknownTrustRule):
        await house.rules.remove("acme", "app")
    async with asyncio.timeout(LONG):
        while True:
            try:
                await house.shown(given.token)
            except BadToken:
                break
            await asyncio.sleep(0.02)


async def test_keys_are_cached_rotated_and_outlive_their_issuer(house) -> None:
    await house.trust()
    house.issuer.cache_control = "public, max-age=600"
    first = house.issuer.keys[0]
    for _ in range(5):
        await house.exchange.exchange(house.issuer.token())
    assert house.issuers.fetches == 1
    second = house.issuer.new_key("second", "EC")
    with pytest.raises(AssertionRefused):
        await house.exchange.exchange(house.issuer.token(second))
    house.now[0] += 31  # a new key is looked for, but not at every try
    await house.exchange.exchange(house.issuer.token(second))
    assert house.issuers.fetches == 2
    house.issuer.down = True
    house.now[0] += 5_000
    for key in (first, second):
        await house.exchange.exchange(house.issuer.token(key))
    assert house.issuers.fetches == 3, "an issuer that is away is not asked for every job"
    house.now[0] += 90_000
    with pytest.raises(IssuerAway):
        await house.exchange.exchange(house.issuer.token(first))
    house.issuer.down = False
    house.issuer.keys.remove(first)
    house.now[0] += 31
    await house.exchange.exchange(house.issuer.token(second))
    with pytest.raises(AssertionRefused):
        await house.exchange.exchange(house.issuer.token(first))


async def test_a_storm_of_invented_key_ids_asks_the_issuer_once(house) -> None:
    await house.trust()
    forged = Issuer()
    forged.url = house.issuer.url
    keys = [forged.new_key(f"key-{n}", "EC") for n in range(50)]
    tried = await asyncio.gather(
        *(house.exchange.exchange(forged.token(key)) for key in keys), return_exceptions=True
    )
    assert {type(each) for each in tried} == {AssertionRefused}
    assert house.issuers.fetches == 1


@pytest.mark.parametrize("wrong", ["discovery", "certificate", "port"])
async def test_an_issuer_that_cannot_be_believed(house, wrong) -> None:
    if wrong == "discovery":
        house.issuer.says_issuer = "https://elsewhere.example.com"
    if wrong == "certificate":
        house.exchange._issuers = Issuers(lambda: 0.0)
    if wrong == "port":
        house.issuer.url = "https://localhost:1"
    await house.trust()
    for _ in range(2):
        with pytest.raises(IssuerAway):
            await house.exchange.exchange(house.issuer.token())


async def test_what_is_long_over_is_deleted_and_nothing_else(house, database) -> None:
    await house.trust(once=True)
    for _ in range(3):
        await house.exchange.exchange(house.issuer.token())
    await Store(database).create_token("acme", "ended", timedelta(minutes=1))
    await database.execute(
        "update tokens set expires_at = now() - interval '2 days' where name <> 'x'"
    )
    await database.execute(
        "update tokens set expires_at = now() where id = (select min(id::text)::uuid from tokens"
        " where rule_id is not null)"
    )
    await database.execute("update used_assertions set expires_at = now() - interval '2 hours'")
    await Housekeeping([house.audit.prune, house.rules.prune]).prune()
    left = await Store(database).tokens("acme", revoked=True)
    assert sorted(each.subject or each.name for each in left) == [
        "ended",
        "repo:acme/app:ref:refs/heads/main",
    ]
    assert await database.fetchval("select count(*) from used_assertions") == 0
