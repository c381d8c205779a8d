"""why, wait, ls --watch and the rest of what people ask, as they ask it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import click
import pytest
from controlkit.fakes import asleep, satellite
from documented import SCHEMAS, as_documented
from terminals import read_until_closed
from waiting import LONG

from torpor_router.cli.schemas.answers import SATELLITE
from torpor_statemachine.lifecycle.keeping import Keeper, Streams
from torpor_statemachine.lifecycle.states import State

SINCE = datetime(2026, 5, 1, 12, 3, 40, tzinfo=UTC)
LONG_NAME = "a-satellite-with-a-long-name"
SOLVE = "/moby.buildkit.v1.Control/Solve"


def keeper(**fields: Any) -> Keeper:
    whole = {
        "node_id": uuid4(),
        "count": 3,
        "streams": (Streams("token:ci", SOLVE, "10.0.0.7", 3, SINCE),),
        "reported_at": SINCE,
        "silent_for": timedelta(),
        "until": SINCE,
        "left": timedelta(seconds=40),
    }
    return Keeper(**{**whole, **fields})


def building(name: str = "one", **fields: Any) -> Any:
    return satellite(name, idle_since=None, keepers=(keeper(),), **fields)


async def on_terminal(house: Any, columns: int, *arguments: str) -> list[str]:
    """What a person sees on a terminal of that width."""
    house.environment |= {"TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": "1"}
    ours, theirs = pty.openpty()
    process = await house.start(*arguments, stdout=theirs)
    os.close(theirs)
    shown = await read_until_closed(ours)
    assert await process.wait() == 0, await process.stderr.read()
    assert b"\x1b" not in shown  # NO_COLOR
    return shown.decode().split("\r\n")


async def test_why_says_whose_streams_keep_it_awake(commands) -> None:
    house = await commands(building())
    done = await house.run("why", "one")
    assert done.code == 0
    assert f"kept awake by 3 streams of token:ci {SOLVE} from 10.0.0.7 since 2026-05-01" in done.out
    told = (await house.run("why", "one", "--json")).json
    assert told["satellite"]["keepers"][0]["open"][0]["caller"] == "token:ci"
    assert told["summary"] in done.out


async def test_a_dead_routers_hold_is_said(commands) -> None:
    silent = keeper(silent_for=timedelta(seconds=20), count=None, streams=())
    house = await commands(satellite("one", idle_since=None, keepers=(silent,)))
    done = await house.run("why", "one")
    assert "not heard of for 20 s: its leases end in 40 s, at 12:03:40 UTC" in done.out


async def test_ls_is_chosen_and_says_whose_streams(commands) -> None:
    house = await commands(
        building("a", labels={"team": "web"}), asleep("b", labels={"team": "web"}), asleep("c")
    )
    assert "3 streams of token:ci" in (await house.run("ls")).out
    listed = (await house.run("ls", "--state", "asleep", "--label", "team=web", "--json")).json
    assert [each["name"] for each in listed] == ["b"]
    assert listed[0]["labels"] == {"team": "web"}
    none = await house.run("ls", "--label", "team=api")
    assert (none.out, none.err) == ("", "No such satellites.\n")
    assert (await house.run("ls", "--state", "terminated")).code == 2


async def test_ls_watch_prints_what_has_changed(commands) -> None:
    house = await commands(asleep("one"), by_itself=False)
    process = await house.start("ls", "--watch", "--json")
    first = json.loads(await asyncio.wait_for(process.stdout.readline(), LONG))
    assert first[0]["state"] == "asleep"
    await house.fleet.becomes("one", State.WAKING)
    second = json.loads(await asyncio.wait_for(process.stdout.readline(), LONG))
    assert second[0]["state"] == "waking"
    process.terminate()
    await process.wait()


async def test_labels_are_set_shown_and_removed(commands) -> None:
    house = await commands()
    await house.run("launch", "one", "--label", "team=web", "--label", "a=b", "--no-wait")
    assert "team=web" in (await house.run("inspect", "one")).out
    done = await house.run("update", "one", "--label", "a=", "--json")
    assert done.json["labels"] == {"team": "web"}
    assert (await house.run("update", "one", "--label", "novalue")).code == 2
    assert "TPR-2015" in (await house.run("update", "one", "--label", "a b=c")).err


async def test_a_schedule_is_set_shown_and_removed(commands) -> None:
    house = await commands(asleep("one"))
    text = "Mon-Fri 08:00-19:00 Europe/Prague"
    done = await house.run("schedule", "one", text)
    assert (done.code, done.out) == (0, f"acme/one is kept awake {text}\n")
    assert (await house.run("schedule", "one")).out == done.out
    assert text in (await house.run("inspect", "one")).out
    why = " ".join((await house.run("why", "one")).out.split())
    assert f"So does its schedule, {text}." in why
    assert (await house.run("schedule", "one", "--json")).json["schedule"] == text
    done = await house.run("schedule", "one", "--none")
    assert (done.code, done.out) == (0, "acme/one has no schedule\n")
    bad = await house.run("schedule", "one", "Mon 8-19")
    assert bad.code == 2
    assert "TPR-2015" in bad.err
    assert (await house.run("schedule", "one", text, "--none")).code == 2


async def test_why_names_the_schedule_that_keeps_it_awake(commands) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    one = satellite(
        "one", schedule="Mon-Sun 00:00-24:00 UTC", awake_until=tomorrow, idle_since=tomorrow
    )
    house = await commands(one)
    why = " ".join((await house.run("why", "one")).out.split())
    until = f"{tomorrow:%Y-%m-%d %H:%M} UTC"
    assert f"It is kept awake until {until} by its schedule, Mon-Sun 00:00-24:00 UTC." in why


async def test_resize_is_an_update_of_the_size(commands) -> None:
    house = await commands(asleep("one"))
    done = await house.run("resize", "one", "big")
    assert (done.code, done.out) == (0, "acme/one is asleep (hibernated)\n")
    assert house.fleet.changes[0].size == "big"


@pytest.mark.parametrize(
    ("goal", "state"),
    [("running", State.RUNNING), ("asleep", State.ASLEEP), ("gone", State.TERMINATED)],
)
async def test_wait_waits_for_a_state_and_changes_nothing(commands, goal, state) -> None:
    house = await commands(satellite("one", state=State.UPDATING), by_itself=False)
    waiting = asyncio.create_task(house.run("wait", "one", "--for", goal, "--timeout", "10m"))
    while not house.fleet.followers:
        await asyncio.sleep(0.01)
    assert not waiting.done()
    await house.fleet.becomes("one", state)
    done = await asyncio.wait_for(waiting, LONG)
    assert (done.code, done.out.split(" (")[0].rstrip()) == (0, f"acme/one is {state}")
    assert not house.fleet.asked


async def test_wait_gives_up_in_time_and_on_what_cannot_be(commands) -> None:
    house = await commands(asleep("one"), satellite("two", state=State.FAILED), beat=0.05)
    done = await house.run("wait", "one", "--for", "running", "--timeout", "1s")
    assert (done.code, done.err.splitlines()[-2][:8]) == (4, "TPR-1148")
    assert "TPR-2007" in (await house.run("wait", "two")).err
    assert (await house.run("wait", "three", "--for", "gone")).out == "three is gone\n"
    assert (await house.run("wait", "three")).code == 3


async def test_a_wake_says_how_long_it_took_and_which_it_was(commands) -> None:
    house = await commands(asleep("one", usual_wake=timedelta(seconds=20)))
    done = await house.run("wake", "one")
    assert done.out == "acme/one is running\n"
    last = done.err.splitlines()[-1]
    assert last.startswith("It took ")
    assert last.endswith("; usually up to 20s.")


@pytest.mark.parametrize("columns", [80, 50])
async def test_nothing_needed_is_lost_on_a_narrow_terminal(commands, columns) -> None:
    house = await commands(
        building(LONG_NAME, size="m7i.4xlarge"),
        satellite("broken", state=State.FAILED, failure="TPR-2205 i-0123456789abcdef0"),
    )
    await house.fleet.becomes("broken", State.FAILED)
    for arguments, words in (
        (
            ("ls",),
            (
                LONG_NAME,
                "m7i.4xlarge",
                "token:ci",
                "30m",
                "i-0123456789abcdef0",
            ),
        ),
        (("why", LONG_NAME), ("token:ci", SOLVE, "10.0.0.7")),
        (("history", "broken"), ("failed", "token:ci", "asked")),
        (
            ("inspect", LONG_NAME),
            ("token:ci", "m7i.4xlarge", "127.0.0.1:4000"),
        ),
    ):
        lines = await on_terminal(house, columns, *arguments)
        assert max(map(len, map(click.unstyle, lines))) <= columns, arguments
        text = "".join(lines)
        assert all(word in text for word in words), (arguments, lines)
        assert "…" not in text


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ("satellite", ("wake", "one")),
        ("satellites", ("ls",)),
        ("why", ("why", "one")),
        ("inspect", ("inspect", "one")),
        ("history", ("history", "one")),
        ("whoami", ("whoami",)),
    ],
)
async def test_json_is_as_its_schema_says(commands, schema, arguments) -> None:
    house = await commands(building(labels={"a": "b"}, usual_wake=timedelta(seconds=20)))
    await house.fleet.becomes("one", State.RUNNING)
    as_documented((await house.run(*arguments, "--json")).json, schema)


async def test_each_line_of_follow_is_as_its_schema_says(commands) -> None:
    house = await commands(satellite("one", state=State.TERMINATING), by_itself=False)
    following = asyncio.create_task(house.run("follow", "one", "--json"))
    while not house.fleet.followers:
        await asyncio.sleep(0.01)
    await house.fleet.becomes("one", State.TERMINATED)
    done = await asyncio.wait_for(following, LONG)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [each["satellite"]["state"] for each in lines] == ["terminating", "terminated"]
    for each in lines:
        as_documented(each, "follow")


def test_every_schema_stands_on_the_page() -> None:
    page = (SCHEMAS.parent / "cli.md").read_text(encoding="utf-8")
    files = {file.stem for file in SCHEMAS.glob("*.json")} - {"torpor"}
    assert files == set(SATELLITE)
    for name in files:
        assert f"(schemas/{name}.json)" in page
