"""The decision for each request: who, which satellite, how fresh, at what cost."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from waiting import LONG, until

from torpor_provisioner.errors import TorporError
from torpor_router.access.directory import Directory
from torpor_router.access.errors import (
    BadToken,
    NoSuchSatellite,
    OtherOrg,
    TokenEnded,
    TooManyLookups,
    UnknownCertificate,
)
from torpor_router.access.roles import granted
from torpor_router.access.store import Store
from torpor_router.access.verdict import FACTS, Caller, arguments
from torpor_router.access.verdict_cache import GRACE, ROUND
from torpor_router.errors import NoCredentials
from torpor_router.peer_info import PeerInfo
from torpor_router.routing import Ask, Certificate, Route
from torpor_router.tokens import digest
from torpor_statemachine.postgres.pool import Database, DatabaseAway

PROMISED = 2.0 - 0.25  # seconds; the relay itself adds a quarter


def asking(
    org: str, satellite: str, token: str | None = None, certificate: str | None = None
) -> Ask:
    """`certificate` is an org's name."""
    return Ask(
        org,
        satellite,
        digest(token) if token is not None else None,
        Certificate(certificate) if certificate is not None else None,
    )


@pytest.fixture
async def directory(database: Database) -> AsyncIterator[Directory]:
    async with Directory(database) as directory:
        yield directory


@pytest.fixture
async def token(store: Store) -> str:
    await store.create_org("acme")
    _, text = await store.create_token("acme", "ci")
    return text


async def gone(directory: Directory, ask: Ask) -> float:
    """Ask for it all the time; for how many seconds it was still granted."""
    loop = asyncio.get_running_loop()
    begun = granted = loop.time()
    async with asyncio.timeout(LONG):
        while directory.route_now(ask) is not None:
            granted = loop.time()
            await asyncio.sleep(0.02)
    return granted - begun


async def test_a_caller_finds_its_satellite(directory, satellite, token) -> None:
    one = await satellite("acme/one")
    ask = asking("acme", "one", token)
    assert directory.route_now(ask) is None
    assert await directory.route(ask) == Route(one, "acme", "one", "token:ci")
    assert directory.route_now(ask) == Route(one, "acme", "one", "token:ci")


async def test_a_certificate_speaks_for_its_org(directory, satellite, token) -> None:
    one = await satellite("acme/one")
    by_certificate = asking("acme", "one", None, "acme")
    assert await directory.route(by_certificate) == Route(one, "acme", "one", "certificate:acme")
    both = asking("acme", "one", token, "acme")
    assert (await directory.route(both)).caller == "token:ci"


@pytest.mark.parametrize(
    ("ask", "refusal"),
    [
        (asking("acme", "one", "wrong"), BadToken),
        (asking("acme", "one", "wrong", "acme"), BadToken),
        (asking("acme", "none", "T"), NoSuchSatellite),
        (asking("acme", "ended", "T"), NoSuchSatellite),
        (asking("globex", "two", "T"), OtherOrg),
        (asking("globex", "none", "T"), OtherOrg),
        (asking("nobody", "none", "T"), OtherOrg),
        (asking("globex", "two", "T", "globex"), OtherOrg),
        (asking("acme", "one", "T", "globex"), OtherOrg),
        (asking("globex", "two", None, "acme"), OtherOrg),
        (asking("nobody", "none", None, "nobody"), UnknownCertificate),
        (asking("acme", "one"), NoCredentials),
    ],
)
async def test_callers_that_are_refused(directory, satellite, token, ask: Ask, refusal) -> None:
    await satellite("acme/one")
    await satellite("acme/ended", "terminated")
    await satellite("globex/two")
    asked = replace(ask, token_hash=digest(token)) if ask.token_hash == digest("T") else ask
    for _ in range(2):
        with pytest.raises(TorporError) as refused:
            await directory.route(asked)
        assert type(refused.value) is refusal
        assert directory.route_now(asked) is None


async def test_another_orgs_satellites_cannot_be_found_out_about(
    directory, satellite, token
) -> None:
    await satellite("globex/two")
    told = []
    for ask in (asking("globex", "two", token), asking("globex", "none", token)):
        with pytest.raises(OtherOrg) as refused:
            await directory.route(ask)
        told.append(str(refused.value))
    assert told[0] == told[1]


async def test_a_token_by_itself_names_its_caller(directory, database, token) -> None:
    row = await database.fetchrow("select org_id, id from tokens")
    known = Caller(row["org_id"], "acme", "token:ci", granted(["admin"]), row["id"])
    assert await directory.caller(token) == known
    with pytest.raises(BadToken):
        await directory.caller("wrong")
    with pytest.raises(NoCredentials):
        await directory.caller("")


async def test_a_token_beside_another_orgs_certificate_is_refused(directory, token) -> None:
    assert (await directory.caller(token, PeerInfo("192.0.2.1:1", "acme"))).org == "acme"
    with pytest.raises(OtherOrg, match="the certificate is of another org"):
        await directory.caller(token, PeerInfo("192.0.2.1:1", "globex"))


async def test_a_token_that_has_expired_says_so(directory, database, satellite, token) -> None:
    await satellite("acme/one")
    ask = asking("acme", "one", token)
    await directory.route(ask)
    await database.execute("update tokens set expires_at = now()")
    assert await gone(directory, ask) < PROMISED
    with pytest.raises(TokenEnded, match="acme/ci has expired"):
        await directory.route(ask)


async def test_a_revoked_token_opens_nothing_within_two_seconds(
    directory, store, satellite, token
) -> None:
    await satellite("acme/one")
    ask = asking("acme", "one", token)
    await directory.route(ask)
    await store.revoke_token("acme", "ci")
    assert await gone(directory, ask) < PROMISED
    with pytest.raises(TokenEnded, match="acme/ci was revoked"):
        await directory.route(ask)
    with pytest.raises(TokenEnded):
        await directory.caller(token)


async def test_revocation_needs_nobody_to_tell(database_url, store, satellite, token) -> None:
    await satellite("acme/one")
    ask = asking("acme", "one", token)
    async with Database(database_url, poll_only=True) as database, Directory(database) as deaf:
        await deaf.route(ask)
        await store.revoke_token("acme", "ci")
        assert await gone(deaf, ask) < PROMISED


async def test_revocation_is_told_at_once(database, store, satellite, token) -> None:
    """With a clock that stands still, nothing becomes stale and no round is due."""
    await satellite("acme/one")
    ask = asking("acme", "one", token)
    stands = asyncio.get_running_loop().time()
    async with Directory(database, clock=lambda: stands) as directory:
        await directory.route(ask)
        await store.revoke_token("acme", "ci")
        await gone(directory, ask)


async def test_what_is_in_use_stays_known_without_a_look_up(directory, satellite, token) -> None:
    await satellite("acme/one")
    ask = asking("acme", "one", token)
    await directory.route(ask)
    seen: Counter[Any] = Counter()
    end = asyncio.get_running_loop().time() + 3.0
    while asyncio.get_running_loop().time() < end:
        seen[directory.route_now(ask) is not None] += 1
        await asyncio.sleep(0.05)
    assert seen[True] > 2 * seen[False], "a busy machine may be late now and then"


async def test_a_satellite_made_anew_under_its_name_is_found(
    directory, database, satellite, token
) -> None:
    first = await satellite("acme/one")
    ask = asking("acme", "one", token)
    assert (await directory.route(ask)).satellite_id == first
    await database.execute("update satellites set state = 'terminated' where id = $1", first)
    second = await satellite("acme/one")
    async with asyncio.timeout(LONG):
        while (await directory.route(ask)).satellite_id != second:
            await asyncio.sleep(0.05)


async def test_the_same_ask_many_times_is_one_look_up(
    database, satellite, token, monkeypatch
) -> None:
    await satellite("acme/one")
    asked: list[int] = []
    monkeypatch.setattr(
        "torpor_router.access.lookups.arguments",
        lambda asks: asked.append(len(asks)) or arguments(asks),
    )
    # its time stands still, so that nothing is asked again on a slow machine
    async with Directory(database, clock=lambda: 1.0) as directory:
        routes = await asyncio.gather(
            *(directory.route(asking("acme", "one", token)) for _ in range(1_000))
        )
    assert len(set(routes)) == 1
    assert sum(asked) == 1


async def test_a_crowd_of_strangers_is_a_few_queries(
    database, satellite, token, monkeypatch
) -> None:
    await satellite("acme/one")
    queries: list[int] = []
    monkeypatch.setattr(
        "torpor_router.access.lookups.arguments",
        lambda asks: queries.append(len(asks)) or arguments(asks),
    )
    # its time stands still, so that nothing is asked again on a slow machine
    async with Directory(database, clock=lambda: 1.0) as directory:
        route = asking("acme", "one", token)
        await directory.route(route)
        strangers = [
            directory.route(asking("acme", "one", f"wrong{n}"), f"peer {n // 8}")
            for n in range(6_000)
        ]
        told = await asyncio.gather(*strangers, return_exceptions=True)
        assert {type(each) for each in told} == {BadToken}
        assert directory.route_now(route) is not None, "strangers push nobody out"
    assert len(queries) < 40


async def test_strangers_make_no_new_caller_wait_behind_them(directory, satellite, token) -> None:
    await satellite("acme/one")
    unknown = [asking("acme", "one", f"wrong{n}") for n in range(15_000)]
    strangers = [
        asyncio.create_task(directory.route(ask, f"192.0.2.1:{n % 30}"))
        for n, ask in enumerate(unknown)
    ]
    await asyncio.sleep(0)
    assert (await directory.route(asking("acme", "one", token), "192.0.2.2:1")).org == "acme"
    assert sum(each.done() for each in strangers) < len(strangers) // 2
    for each in strangers:
        each.cancel()
    await asyncio.wait(strangers)
    assert "0 waiting" in repr(directory._lookups)


async def test_verdicts_in_use_are_confirmed_before_a_crowd_is_looked_up(
    database, satellite, token, monkeypatch
) -> None:
    await satellite("acme/one")
    mine = asking("acme", "one", token)
    batches: list[list[Ask]] = []
    monkeypatch.setattr(
        "torpor_router.access.lookups.arguments",
        lambda asks: batches.append(list(asks)) or arguments(asks),
    )
    now = [1.0]  # so that only the test begins a round
    async with Directory(database, clock=lambda: now[0]) as directory:
        await directory.route(mine)
        batches.clear()
        now[0] += ROUND
        crowd = [
            asyncio.create_task(directory.route(asking("acme", "one", f"wrong{n}"), f"peer {n}"))
            for n in range(2_000)
        ]
        await asyncio.gather(*crowd, return_exceptions=True)
    assert mine in batches[0]


async def test_a_crowd_that_cannot_be_looked_up_is_told_so(
    directory, satellite, token, monkeypatch
) -> None:
    await satellite("acme/one")
    monkeypatch.setattr("torpor_router.access.lookups.MOST_WAITING", 4)
    asks = [directory.route(asking("acme", "one", f"wrong{n}"), f"peer {n}") for n in range(5)]
    told = await asyncio.gather(*asks, return_exceptions=True)
    assert [type(each) for each in told] == [*[BadToken] * 4, TooManyLookups]
    assert str(told[-1]).startswith("TPR-3013 ")


async def test_a_wait_that_is_given_up_leaves_nothing(database, wire) -> None:
    async with Database(wire.url) as cut_off, Directory(cut_off, patience=LONG) as directory:
        await wire.cut()
        waits = [
            asyncio.create_task(directory.route(asking("acme", "one", f"t{n}"))) for n in range(10)
        ]
        await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        assert all(wait.cancelled() for wait in waits)
        assert "0 waiting" in repr(directory._lookups)


@pytest.mark.parametrize("how", ["cut", "silenced"])
async def test_a_known_caller_stays_known_while_the_database_is_away(
    wire, satellite, store, token, how: str
) -> None:
    await satellite("acme/one")
    ask, new = asking("acme", "one", token), asking("acme", "none", token)
    async with Database(wire.url) as database, Directory(database, patience=3.0) as directory:
        await directory.route(ask)
        if how == "cut":
            await wire.cut()
        else:
            wire.silence()
        end = asyncio.get_running_loop().time() + 2.0
        while asyncio.get_running_loop().time() < end:
            await directory.route(ask)
            await asyncio.sleep(0.05)
        assert directory.route_now(ask) is not None
        with pytest.raises(DatabaseAway, match="TPR-5205"):
            await directory.route(new)
        await store.revoke_token("acme", "ci")
        await wire.mend()
        await gone(directory, ask)
        with pytest.raises(TokenEnded):
            await directory.route(ask)


async def test_the_grace_ends(wire, satellite, token) -> None:
    await satellite("acme/one")
    ask = asking("acme", "one", token)
    loop = asyncio.get_running_loop()
    ahead = 0.0
    async with (
        Database(wire.url) as database,
        Directory(database, patience=0.2, clock=lambda: loop.time() + ahead) as directory,
    ):
        await directory.route(ask)
        await wire.cut()
        await until(lambda: directory._cache.away)
        assert directory.route_now(ask) is not None
        ahead = GRACE
        assert directory.route_now(ask) is None
        with pytest.raises(DatabaseAway):
            await directory.route(ask)


async def test_a_waiting_caller_is_answered_when_the_database_returns(
    wire, satellite, token
) -> None:
    await satellite("acme/one")
    async with Database(wire.url) as database, Directory(database, patience=LONG) as directory:
        await wire.cut()
        wait = asyncio.create_task(directory.route(asking("acme", "one", token)))
        await asyncio.sleep(0.3)
        assert not wait.done()
        await wire.mend()
        assert (await wait).caller == "token:ci"


async def test_an_unforeseen_failure_hurts_only_those_who_asked(
    database, satellite, token, monkeypatch, caplog
) -> None:
    await satellite("acme/one")

    def broken(_: object) -> None:
        raise RuntimeError("unforeseen")

    with monkeypatch.context() as patched:
        patched.setattr("torpor_router.access.lookups.arguments", broken)
        async with Directory(database) as directory:
            with pytest.raises(RuntimeError, match="unforeseen"):
                await directory.route(asking("acme", "one", token))
            patched.undo()
            assert (await directory.route(asking("acme", "one", token))).org == "acme"
    assert "looking up callers failed" in caplog.text


async def test_tokens_are_in_no_log_nor_message(directory, satellite, token, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    await satellite("acme/one")
    for text, org in ((token, "acme"), (token, "globex"), ("wr0ng-t0ken", "acme")):
        ask = asking(org, "one", text)
        try:
            told = repr(await directory.route(ask))
        except TorporError as refusal:
            told = str(refusal) + repr(refusal)
        assert text not in told + repr(ask) + repr(directory) + repr(directory._lookups)
        assert text not in caplog.text


async def test_the_look_up_uses_its_indexes(database: Database) -> None:
    await database.execute(
        "insert into orgs (name) select 'org-' || n from generate_series(1, 5000) as n"
    )
    await database.execute(
        """
        insert into tokens (org_id, name, hash)
        select id, 'ci', sha256(name::bytea) from orgs
        """
    )
    await database.execute(
        """
        insert into refused_certificates (id)
        select encode(sha256(name::bytea), 'hex') from orgs
        """
    )
    await database.execute("analyze orgs, tokens, satellites, refused_certificates")
    plan = await database.fetch(
        f"explain {FACTS}",
        *arguments([asking("org-1", "one", "t"), asking("org-2", "one", None, "org-2")]),
    )
    told = "\n".join(row[0] for row in plan)
    for table in ("tokens", "orgs", "refused_certificates"):
        assert f"Seq Scan on {table}" not in told, told


async def test_a_caller_of_two_orgs_with_one_name_of_token(directory, store, satellite) -> None:
    ids: dict[str, UUID] = {}
    for org in ("a", "b"):
        ids[org] = await satellite(f"{org}/one")
        _, text = await store.create_token(org, "ci")
        route = await directory.route(asking(org, "one", text))
        assert (route.satellite_id, route.org) == (ids[org], org)
