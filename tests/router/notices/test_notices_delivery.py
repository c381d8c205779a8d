"""Notices reach their receivers, whatever those do and whoever is killed."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from fleetkit.databases import transaction
from noticekit.receiver import CA, DRIPS, HANGS, HUGE, RESETS, Receiver, answer
from waiting import until

from torpor_router.notices.outbox import RESULTS, Due, Outbox
from torpor_router.notices.reach import Reach
from torpor_router.notices.sealing import Seal
from torpor_router.notices.webhooks import MOST, Webhooks
from torpor_statemachine.postgres.pool import Database, DatabaseAway


async def states(webhooks: Webhooks, org: str = "acme", name: str = "ops") -> list[str]:
    return [each.state for each in await webhooks.deliveries(org, name)]


async def test_a_notice_is_signed_so_that_openssl_agrees(webhooks, node, receiver, tell) -> None:
    _, secret = await webhooks.add("acme", "ops", receiver.url)
    notice_id = await tell()
    await node()
    [got] = await receiver.has(1)
    assert got.id == notice_id
    assert got.headers["webhook-signature"] == got.signatures(secret)
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 3_600
    assert got.headers["content-type"] == "application/json"
    assert got.json["type"] == "machine.lost"
    assert got.json["id"] == notice_id
    assert got.json["data"] == {
        "org": "acme",
        "satellite": "one",
        "code": "TPR-2205",
        "message": "The satellite's machine no longer exists: it is gone",
        "remedy": "Run 'satellite repair NAME' to launch a new machine under the same name",
    }
    await until(lambda: _all(webhooks, "delivered"))
    [seen] = await webhooks.all("acme")
    assert (seen.result, seen.failures, seen.waiting) == ("204", 0, 0)


async def _all(webhooks: Webhooks, state: str, org: str = "acme", name: str = "ops") -> bool:
    return set(await states(webhooks, org, name)) == {state}


async def test_an_older_secret_signs_beside_the_new_one(webhooks, node, receiver, tell) -> None:
    _, old = await webhooks.add("acme", "ops", receiver.url)
    _, new = await webhooks.rotate("acme", "ops")
    await tell()
    await node()
    [got] = await receiver.has(1)
    assert old != new
    both = f"{got.signatures(new)} {got.signatures(old)}"
    assert got.headers["webhook-signature"] == both


async def test_slack_is_told_in_its_own_words(webhooks, node, receiver, tell) -> None:
    await webhooks.add("acme", "ops", receiver.url, form="slack")
    await tell("TPR-2205 <b>&")
    await node()
    [got] = await receiver.has(1)
    assert got.json["text"].startswith("*acme/one*: TPR-2205 ")
    assert "&lt;b&gt;&amp;" in got.json["text"]


async def test_who_is_told_of_what(webhooks, node, receiver, other, tell, database) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    await webhooks.add("globex", "ops", other.url)
    await webhooks.add("", "all", f"{other.url}?operators")
    await webhooks.add("acme", "capacity", f"{receiver.url}?kind", kinds=["capacity"])
    await tell()
    told = await database.fetch(
        "select coalesce(orgs.name, '') as org, webhooks.name from notice_deliveries"
        " join webhooks on webhooks.id = webhook_id left join orgs on orgs.id = org_id order by 1"
    )
    assert [tuple(each) for each in told] == [("", "all"), ("acme", "ops")]


async def test_those_that_wait_go_in_their_order(webhooks, node, receiver, tell) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    ids = [await tell(f"TPR-2205 {number}") for number in range(5)]
    await node()
    await receiver.has(5)
    assert receiver.ids == ids
    assert receiver.most_open == 1


@pytest.mark.parametrize(
    ("what", "result"),
    [
        (answer(500), "TPR-5527 HTTP 500"),
        (answer(404), "TPR-5527 HTTP 404"),
        (answer(302, "location: http://127.0.0.1:1/"), "TPR-5527 HTTP 302"),
        (RESETS, "TPR-5527 it ended the connection without an answer"),
        (b"no HTTP\r\n\r\n", "TPR-5527 its answer is no HTTP"),
        (answer(200, "x: " + "y" * 20_000), "TPR-5527 its answer is no HTTP"),
    ],
)
async def test_one_that_fails_is_told_again_with_the_same_id(
    webhooks, node, receiver, tell, hurry, what: bytes, result: str
) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    receiver.answers = [what]
    notice_id = await tell()
    deliverer = await node()
    await until(lambda: deliverer.results["failed"] == 1)
    [seen] = await webhooks.all("acme")
    assert (seen.result, seen.failures, seen.waiting) == (result, 1, 1)
    assert len(receiver.received) == 1
    await hurry()
    await until(lambda: _all(webhooks, "delivered"))
    assert receiver.ids == [notice_id, notice_id]
    [delivery] = await webhooks.deliveries("acme", "ops")
    assert delivery.tries == 2


@pytest.mark.parametrize("what", [HANGS, DRIPS])
async def test_one_that_hangs_costs_its_slot_for_a_bounded_time(
    webhooks, node, receiver, other, tell, what: bytes
) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    await webhooks.add("globex", "ops", other.url)
    receiver.always = what
    await tell()
    deliverer = await node(within=3.0)
    await receiver.has(1)
    await tell("TPR-2205 x", "globex")
    await other.has(1)
    await until(lambda: deliverer.results["failed"] >= 1)
    [seen] = await webhooks.all("acme")
    assert seen.result == "TPR-5527 no answer within 3 s"
    await until(lambda: receiver.open == 0)


async def test_many_that_hang_of_one_org_keep_no_other_org_waiting(
    webhooks, node, receiver, other, tell
) -> None:
    receiver.always = HANGS
    for number in range(MOST):
        await webhooks.add("acme", f"ops{number}", receiver.url)
    await webhooks.add("globex", "ops", other.url)
    await tell()
    await node()
    await receiver.has(2)
    await tell("TPR-2205 x", "globex")
    await other.has(1)
    assert receiver.open == 2


async def test_look_ups_that_hang_keep_no_other_org_waiting(
    webhooks, node, other, tell, monkeypatch
) -> None:
    answered, asked, real = threading.Event(), [], socket.getaddrinfo

    def look_up(host: str, *rest: Any) -> Any:
        if host != "hangs.example":
            return real(host, *rest)
        asked.append(host)
        answered.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for number in range(5):
        await webhooks.add("acme", f"ops{number}", "https://hangs.example")
    await webhooks.add("globex", "ops", other.url.replace("127.0.0.1", "localhost"))
    try:
        await tell()
        deliverer = await node(within=0.5)
        await until(lambda: deliverer.results["failed"] >= 5)
        assert len(asked) == 2
        results = {each.result for each in await webhooks.all("acme")}
        assert "TPR-5527 earlier look-ups of names have not ended yet" in results
        assert all(each.daemon for each in threading.enumerate() if each.name == "webhook name")
        monkeypatch.setattr(deliverer._sender, "_within", 60.0)
        await tell("TPR-2205 x", "globex")
        await other.has(1)
    finally:
        answered.set()


async def test_a_failure_of_our_own_is_marked_and_waits(
    webhooks, node, receiver, tell, monkeypatch
) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    deliverer = await node()

    async def broken(*_: object, **__: object) -> str:
        raise RuntimeError

    monkeypatch.setattr(deliverer._sender, "send", broken)
    await tell()
    await until(lambda: deliverer.results["failed"] >= 1)
    [seen] = await webhooks.all("acme")
    assert seen.result == "TPR-5528 the router failed, and its log says why"
    assert seen.failures >= 1


async def test_a_huge_answer_is_not_read(webhooks, node, receiver, tell) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    receiver.always = HUGE
    await tell()
    await node()
    await until(lambda: _all(webhooks, "delivered"))
    await until(lambda: receiver.open == 0)
    assert receiver.sent < 50_000_000


async def test_a_receiver_that_refuses_one_notice_gets_the_others(
    webhooks, node, receiver, tell, database
) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    receiver.answers = [answer(400)]
    ids = [await tell(f"TPR-2205 {number}") for number in range(3)]
    deliverer = await node()
    await until(lambda: deliverer.results["failed"] == 1)
    await database.execute("update webhooks set next_at = now()")  # not the notice's own time
    await until(lambda: deliverer.results["delivered"] == 2)
    assert receiver.ids == ids
    assert await states(webhooks) == ["delivered", "delivered", "waiting"]


async def test_pauses_grow_for_a_receiver_that_fails(webhooks, database, tell) -> None:
    await webhooks.add("acme", "ops", "http://127.0.0.1:1/")
    await tell()
    outbox, pauses = Outbox(database), []
    for _ in range(12):
        due = await outbox.claim()
        assert due is not None
        assert await outbox.claim() is None
        await outbox.mark(due, "TPR-5527 HTTP 500", delivered=False)
        assert await outbox.claim() is None
        pauses.append(
            await database.fetchval("select extract(epoch from next_at - now()) from webhooks")
        )
        await database.execute("update webhooks set next_at = now()")
        await database.execute("update notice_deliveries set next_at = now()")
    for number, pause in enumerate(pauses):
        usual = min(5 * 2**number, 3_600)
        assert usual * 0.5 < pause < usual * 1.3


async def test_what_nobody_takes_is_given_up_and_stays_to_be_seen(
    webhooks, node, receiver, tell, database, hurry
) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    receiver.always = answer(503)
    await tell()
    await database.execute("update notices set at = now() - interval '24 hours'")
    deliverer = await node()
    await until(lambda: deliverer.results["given up"] == 1)
    await hurry()
    [delivery] = await webhooks.deliveries("acme", "ops")
    assert (delivery.state, delivery.tries, delivery.result) == (
        *("given up", 1),
        "TPR-5527 HTTP 503",
    )
    assert set(deliverer.results) == set(RESULTS)


async def test_old_ones_are_given_up_and_later_deleted(webhooks, tell, database) -> None:
    await webhooks.add("acme", "ops", "https://hooks.example/")
    await tell()
    await database.execute("update notices set at = now() - interval '25 hours'")
    await tell("TPR-2205 new")
    outbox = Outbox(database)
    assert await outbox.prune() == 0
    assert await states(webhooks) == ["waiting", "given up"]
    await database.execute("update notices set at = now() - interval '31 days'")
    assert await outbox.prune() == 2
    assert await states(webhooks) == []


async def test_no_more_than_a_thousand_wait(webhooks, database, tell) -> None:
    await webhooks.add("acme", "ops", "https://hooks.example/")
    await database.execute(
        "select add_notice('capacity', (select id from orgs where name = 'acme'), '', n::text,"
        " 'TPR-2202', '1 hour') from generate_series(1, 1000) as n"
    )
    await tell()
    assert (await states(webhooks))[:2] == ["left out", "waiting"]
    [seen] = await webhooks.all("acme")
    assert seen.waiting == 1_000


async def test_a_node_that_dies_before_it_marks_lets_another_repeat_it(
    webhooks, node, receiver, tell
) -> None:
    class Killed(Outbox):
        async def mark(self, due: Due, result: str, *, delivered: bool) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    await webhooks.add("acme", "ops", receiver.url)
    notice_id = await tell()
    dying = await node(kind=Killed, claimed=timedelta(seconds=1))
    await receiver.has(1)
    await dying.__aexit__()
    await node()
    await until(lambda: _all(webhooks, "delivered"))
    assert receiver.ids == [notice_id, notice_id]


async def test_two_nodes_deliver_each_notice_once(webhooks, node, receiver, other, tell) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    await webhooks.add("globex", "ops", other.url)
    await node()
    await node()
    ids = [await tell(f"TPR-2205 {number}") for number in range(20)]
    await tell("TPR-2205 x", "globex")
    await until(lambda: _all(webhooks, "delivered"))
    assert receiver.ids == ids
    assert receiver.most_open == 1
    assert len(other.received) == 1


async def test_a_database_that_is_away_delays_and_loses_nothing(
    webhooks, node, receiver, tell, database_url
) -> None:
    class Away(Database):
        away = False
        unmarked = 0

        async def fetchrow(self, sql: str, *values: Any) -> Any:
            if self.away:
                raise DatabaseAway("away")
            return await super().fetchrow(sql, *values)

        async def fetchval(self, sql: str, *values: Any) -> Any:
            if self.away:
                self.unmarked += 1
                raise DatabaseAway("away")
            return await super().fetchval(sql, *values)

    await webhooks.add("acme", "ops", receiver.url)
    async with Away(database_url) as away:

        def goes() -> None:
            away.away = True

        receiver.on_request = goes
        notice_id = await tell()
        deliverer = await node(away, claimed=timedelta(seconds=1))
        await receiver.has(1)
        await tell("TPR-2205 second")
        receiver.on_request = lambda: None
        await until(lambda: away.unmarked)
        away.away = False
        await until(lambda: _all(webhooks, "delivered"))
        assert receiver.ids[:2] == [notice_id, notice_id]
        await deliverer.__aexit__()


async def test_a_claim_of_a_webhook_waits_for_no_lock(webhooks, node, receiver, tell, database):
    """Nor does the notice itself, which a wake may be writing."""
    await webhooks.add("acme", "ops", receiver.url)
    await webhooks.add("acme", "two", f"{receiver.url}?two")
    async with transaction(database) as other:
        await other.execute("select from webhooks where name = 'ops' for update")
        await tell()
        await node()
        await receiver.has(1)
        assert await states(webhooks, name="ops") == ["waiting"]
    await receiver.has(2)


async def test_a_webhook_that_was_sealed_by_another_key_says_so(
    webhooks, node, receiver, tell
) -> None:
    from cryptography.fernet import Fernet

    await webhooks.add("acme", "ops", receiver.url)
    await tell()
    deliverer = await node(keys=Seal([Fernet.generate_key()]))
    await until(lambda: deliverer.results["failed"] == 1)
    [seen] = await webhooks.all("acme")
    assert seen.result.startswith("TPR-5521 none of the keys opens")
    assert receiver.received == []


async def test_over_tls_its_certificate_must_be_good(webhooks, node, tell, hurry) -> None:
    async with Receiver().running(tls=True) as receiver:
        await webhooks.add("acme", "ops", f"https://localhost:{receiver.port}/hook")
        await tell()
        deliverer = await node()
        await until(lambda: deliverer.results["failed"] == 1)
        [seen] = await webhooks.all("acme")
        assert seen.result.startswith("TPR-5527 its certificate")
        await deliverer.__aexit__()
        await hurry()
        import ssl

        context = ssl.create_default_context()
        CA.configure_trust(context)
        await node(context=context)
        await receiver.has(1)


async def test_an_org_reaches_nothing_inside(webhooks, node, receiver, tell) -> None:
    await webhooks.add("acme", "ops", f"http://localhost:{receiver.port}/")
    await webhooks.add("acme", "tls", f"https://127.0.0.1:{receiver.port}/")
    await webhooks.add("acme", "six", f"https://[::ffff:127.0.0.1]:{receiver.port}/")
    await webhooks.add("", "own", receiver.url)
    await tell()
    deliverer = await node(reach=Reach())
    await until(lambda: deliverer.results["failed"] == 3)
    await receiver.has(1)  # the operators'
    of_org = {each.name: each.result for each in await webhooks.all("acme")}
    assert set(of_org) == {"ops", "tls", "six"}
    assert all(each.startswith("TPR-5526 ") for each in of_org.values()), of_org
    assert len(receiver.received) == 1


async def test_a_test_goes_to_one_webhook_at_once(
    webhooks, node, receiver, other, database
) -> None:
    await webhooks.add("acme", "ops", receiver.url)
    await webhooks.add("acme", "two", other.url)
    await database.execute("update webhooks set failures = 9, next_at = now() + interval '1 hour'")
    notice_id = await webhooks.test("acme", "ops")
    await node()
    [got] = await receiver.has(1)
    assert (got.id, got.json["type"]) == (str(notice_id), "test")
    assert got.json["data"]["code"] == "TPR-5529"
    assert other.received == []


async def test_tests_in_a_row_are_one_and_leave_the_pause(webhooks, database) -> None:
    await webhooks.add("acme", "ops", "https://hooks.example")
    first = await webhooks.test("acme", "ops")
    await database.execute("update webhooks set failures = 9, next_at = now() + interval '1 hour'")
    assert {await webhooks.test("acme", "ops") for _ in range(3)} == {first}
    assert await states(webhooks) == ["waiting"]
    assert await database.fetchval("select next_at > now() from webhooks")
    await database.execute("update notice_deliveries set tried_at = now() - interval '1 minute'")
    assert await webhooks.test("acme", "ops") != first
    assert await states(webhooks) == ["waiting", "given up"]
    assert not await database.fetchval("select next_at > now() from webhooks")


async def test_nothing_secret_stands_in_the_database_or_the_log(
    webhooks, node, receiver, tell, database, caplog
) -> None:
    _, secret = await webhooks.add("acme", "ops", f"{receiver.url}?key=very-secret")
    receiver.answers = [answer(500)]
    await tell()
    deliverer = await node()
    await until(lambda: deliverer.results["failed"] == 1)
    rows = [
        json.dumps(dict(row), default=repr)
        for table in ("webhooks", "notices", "notice_deliveries", "audit")
        for row in await database.fetch(f"select * from {table}")
    ]
    text = "\n".join([*rows, caplog.text])
    assert secret not in text
    assert "very-secret" not in text
    assert "HTTP 500" in text
