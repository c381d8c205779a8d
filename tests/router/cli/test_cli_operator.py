"""What an operator does to nodes and to sleep, and sees of both: as it is typed."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from torpor_router.access.audit import Audit

NODE, OLD, SILENT = UUID("11112222" + "0" * 24), UUID("11113333" + "0" * 24), UUID(int=7)


@pytest.fixture
async def nodes(database) -> None:
    for id_, age, alive, told in (
        (NODE, "90 minutes", "1 minute", ("1.2.3", "10.0.0.1:8372", "serving", 12, 0.0314)),
        (OLD, "80 minutes", "1 minute", (None,) * 5),
        (SILENT, "70 minutes", "-1 second", ("1.2.3", "10.0.0.2:8372", "serving", 1, 0.0)),
    ):
        await database.execute(
            f"""
            insert into nodes (id, started_at, expires_at, leases_until, version, listens, phase,
                streams, lag)
            values ($1, now() - interval '{age}', now() + interval '{alive}', now(), $2, $3, $4,
                $5, $6)
            """,
            *(id_, *told),
        )


async def test_the_nodes_as_they_are_seen(either_way, nodes) -> None:
    lines = (await either_way("nodes", "ls")).stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["NODE", "LISTENS", "VERSION", "UP", "STATE", "LEASES", "STREAMS", "LAG"],
        ["11112222", "10.0.0.1:8372", "1.2.3", "1h", "30m", "serving", "0", "12", "31ms"],
        ["11113333", "-", "-", "1h", "20m", "serving", "0", "-", "-"],
        ["00000000", "10.0.0.2:8372", "1.2.3", "1h", "10m", "silent", "0", "1", "0ms"],
    ]
    assert max(map(len, lines)) <= 80


async def test_a_node_is_told_to_drain_by_the_beginning_of_its_id(
    either_way, database, nodes
) -> None:
    done = await either_way("drain", "11112", "--no-wait")
    assert (done.exit_code, done.stdout) == (0, "11112222 drains.\n")
    listed = json.loads((await either_way("nodes", "ls", "--json")).stdout)
    assert [each["state"] for each in listed] == ["draining", "serving", "silent"]
    await either_way("drain", "11112", "--end", "--no-wait")
    assert await database.fetchval("select drain from nodes where id = $1", NODE) == "end"
    assert (await either_way("drain", "0000")).stdout == "00000000 is not heard of any more.\n"
    acts = [(act.action, act.target) for act in await Audit(database).read()]
    drain = "Operators.DrainNode"
    assert acts == [(drain, "11112"), (drain, "11112"), (drain, "0000")]


@pytest.mark.parametrize(
    ("node", "code"),
    [("1111", "TPR-5218"), ("%", "TPR-5218"), ("ff", "TPR-5218"), ("11113", "TPR-5219")],
)
async def test_what_cannot_be_drained(either_way, nodes, node: str, code: str) -> None:
    done = await either_way("drain", node)
    assert (done.exit_code, done.stdout) == (3, "")
    assert code in done.stderr


async def test_sleep_is_paused_and_goes_on(either_way, database) -> None:
    await either_way("org", "create", "acme")
    done = await either_way("pause-sleep", "on", "--for", "2h", "--reason", "moving the network")
    assert done.stdout.startswith("Nothing idle is put to sleep of any org, until ")
    await either_way("pause-sleep", "on", "--org", "acme", "--for", "1h", "--reason", "theirs")
    lines = (await either_way("pause-sleep", "ls")).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["OF", "every", "acme"]
    assert lines[1].endswith("moving the network")
    listed = json.loads((await either_way("pause-sleep", "ls", "--json")).stdout)
    assert [(each["org"], each["reason"]) for each in listed] == [
        (None, "moving the network"),
        ("acme", "theirs"),
    ]
    assert (await either_way("pause-sleep", "off")).stdout == "Sleep goes on of any org.\n"
    again = await either_way("pause-sleep", "off", "--json")
    assert json.loads(again.stdout) == {"org": None, "ended": False}
    await either_way("pause-sleep", "off", "--org", "acme")
    assert (await either_way("pause-sleep", "ls")).stderr == "Sleep is not paused.\n"
    acts = [act.action for act in await Audit(database).read()]
    on, off = ["Operators.PauseSleep"], ["Operators.ResumeSleep"]
    assert acts == ["Operators.CreateOrg", *on * 2, *off * 3]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["--for", "8d", "--reason", "x"], "TPR-2031", 2),
        (["--for", "1h", "--reason", ""], "TPR-2031", 2),
        (["--for", "1h", "--reason", "x", "--org", "none"], "TPR-1112", 3),
        (["--for", "1h"], "--reason", 2),
    ],
)
async def test_what_is_no_pause(either_way, arguments, code: str, exit_code: int) -> None:
    done = await either_way("pause-sleep", "on", *arguments)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert code in done.stderr


async def test_an_org_is_limited(either_way, database) -> None:
    await either_way("org", "create", "acme")
    assert (await either_way("limit", "ls")).stderr == "No org has limits.\n"
    done = await either_way("limit", "set", "acme", "--machines", "20", "--wakes-per-hour", "12")
    assert done.stdout == "acme: at most 20 satellites, 12 wakes of a satellite in an hour.\n"
    done = await either_way("limit", "set", "acme", "--awake", "5", "--machines", "none", "--json")
    kept = json.loads(done.stdout)
    assert (kept["machines"], kept["awake"], kept["wakes_per_hour"]) == (None, 5, 12)
    lines = (await either_way("limit", "ls")).stdout.splitlines()
    assert lines[1].split()[:6] == ["acme", "0", "0", "of", "5", "12"]
    assert (await either_way("limit", "rm", "acme")).stdout == "acme has no limits any more.\n"
    assert (await either_way("limit", "rm", "acme")).stdout == "acme had no limits.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["acme", "--awake", "1000001"], "TPR-2051", 2),
        (["acme", "--awake", "many"], "no whole number", 2),
        (["acme"], "nothing to limit", 2),
        (["none", "--awake", "1"], "TPR-1112", 3),
    ],
)
async def test_what_is_no_limit(either_way, arguments, code: str, exit_code: int) -> None:
    await either_way("org", "create", "acme")
    done = await either_way("limit", "set", *arguments)
    assert (done.exit_code, code in done.stderr) == (exit_code, True)
