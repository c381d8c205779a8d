"""Each command against a router: what it prints, for people and for programs, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta

import pytest
from controlkit.fakes import GLOBEX, asleep, satellite
from waiting import LONG, until

from torpor_provisioner.contract import Arch
from torpor_provisioner.errors import Capacity
from torpor_statemachine.lifecycle.satellite import Wanted
from torpor_statemachine.lifecycle.states import SleepMode, State
from torpor_statemachine.postgres.pool import DatabaseAway


async def test_launch_waits_until_it_runs(commands) -> None:
    house = await commands()
    done = await house.run("launch", "one")
    assert done.code == 0
    assert done.out == "acme/one is running\n"
    assert "acme/one launching: a new machine is being launched" in done.err
    assert [call for call, _, _ in house.fleet.asked] == ["launch", "wake"]


async def test_launch_says_everything_that_was_asked_for(commands) -> None:
    house = await commands()
    done = await house.run(
        *("launch", "big", "--arch", "arm64", "--size", "m7g.large", "--sleep-after", "1h30m"),
        *("--sleep-mode", "hibernate", "--provisioner", "ec2", "--set", "cache_gib=500"),
        *("--set", "image=ami=1", "--no-wait", "--json"),
    )
    assert done.code == 0
    assert done.json["state"] == "launching"
    assert done.json["sleep_after"] == 5400
    [new] = house.fleet.launched
    assert (new.arch, new.size, new.provisioner) == (Arch.ARM64, "m7g.large", "ec2")
    assert (new.sleep_after, new.sleep_mode) == (timedelta(minutes=90), SleepMode.HIBERNATE)
    assert new.settings == {"cache_gib": "500", "image": "ami=1"}


async def test_launch_of_a_taken_name_is_refused(commands) -> None:
    house = await commands(asleep("one"))
    done = await house.run("launch", "one")
    assert done.code == 3
    assert done.out == ""
    assert done.err.splitlines()[0].startswith("TPR-2003 ")
    assert "satellite rm NAME" in done.err.splitlines()[1]


async def test_ls_for_people_and_for_programs(commands) -> None:
    house = await commands(
        asleep("two"),
        satellite("one", idle_since=None),
        satellite("three", state=State.FAILED, failure="TPR-2205 i-1 is gone"),
        satellite("theirs", GLOBEX),
    )
    done = await house.run("ls")
    lines = done.out.splitlines()
    assert lines[0].split() == [*("NAME", "STATE", "FOR", "HOW", "ARCH", "SIZE", "SLEEPS", "AFTER")]
    assert [line.split()[0] for line in lines[1:]] == ["one", "three", "two"]
    assert "streams are open" in lines[1]
    assert "TPR-2205 The satellite's machine no longer exists: i-1 is gone" in lines[2]
    assert "hibernated" in lines[3]
    assert "30m" in lines[3]
    listed = (await house.run("ls", "--json")).json
    assert [each["name"] for each in listed] == ["one", "three", "two"]
    assert listed[2]["sleep_kind"] == "hibernated"
    assert listed[0]["state_since"] == "2026-05-01T12:00:00+00:00"
    assert listed[1]["failure"] == "TPR-2205 i-1 is gone"


async def test_ls_of_nothing_says_what_to_do(commands) -> None:
    house = await commands()
    done = await house.run("ls")
    assert (done.code, done.out) == (0, "")
    assert "satellite launch NAME" in done.err
    assert (await house.run("ls", "--json")).json == []


async def test_inspect_says_why_it_is_awake(commands) -> None:
    house = await commands(asleep("one"))
    await house.fleet.becomes("one", State.WAKING)
    await house.fleet.becomes("one", State.RUNNING)
    done = await house.run("inspect", "one")
    assert done.code == 0
    [why] = [line for line in done.out.splitlines() if line.startswith("why ")]
    assert "wake: asked, by token:ci, took 2.5s (resumed)" in why
    assert "waking > running" in done.out
    told = (await house.run("inspect", "one", "--json")).json
    assert told["satellite"]["name"] == "one"
    assert [step["event"] for step in told["transitions"]] == ["woke", "wake"]
    assert told["transitions"][0]["took"] == 2.5


async def test_inspect_of_a_failed_one_says_what_to_do(commands) -> None:
    house = await commands(satellite(state=State.FAILED, failure="TPR-2205 i-1"))
    done = await house.run("inspect", "one")
    assert "satellite repair NAME" in done.out


async def test_inspect_says_what_is_in_the_way(commands) -> None:
    house = await commands(satellite(state=State.LAUNCHING, obstacle="TPR-2202 none in zone b"))
    told = (await house.run("inspect", "one")).out
    assert "how" in told
    assert Capacity("none in zone b").remedy in told
    assert (await house.run("ls", "--json")).json[0]["obstacle"] == "TPR-2202 none in zone b"


async def test_history(commands) -> None:
    house = await commands(asleep("one"))
    assert "Nothing has happened" in (await house.run("history", "one")).err
    for state in (State.WAKING, State.RUNNING, State.SLEEPING):
        await house.fleet.becomes("one", state)
    done = await house.run("history", "one", "--limit", "2")
    assert len(done.out.splitlines()) == 3
    assert "resumed" in done.out
    assert len((await house.run("history", "one", "--json")).json) == 3
    assert (await house.run("history", "one", "--limit", "0")).code == 2


async def test_wake_tells_its_progress_beside_its_answer(commands) -> None:
    house = await commands(asleep("one"))
    done = await house.run("wake", "one")
    assert done.code == 0
    assert done.out == "acme/one is running\n"
    assert "acme/one waking: the machine is starting (resumed memory) (" in done.err
    again = await house.run("wake", "one", "--json")
    assert (again.code, again.json["state"], again.err) == (0, "running", "")


async def test_wake_need_not_be_waited_for(commands) -> None:
    house = await commands(asleep("one"), by_itself=False)
    done = await house.run("wake", "one", "--no-wait")
    assert (done.code, done.out) == (0, "acme/one is waking\n")


async def test_a_wake_that_fails_tells_why(commands) -> None:
    house = await commands(asleep("one"), by_itself=False)
    waking = asyncio.create_task(house.run("wake", "one", "--json"))
    await house.fleet.until("wake")
    await house.fleet.becomes("one", State.ASLEEP, failure="TPR-2202 none in zone b")
    done = await waking
    assert done.code == 4
    assert done.error["code"] == "TPR-2202"
    assert done.error["status"] == "UNAVAILABLE"
    assert "none in zone b" in done.error["message"]
    assert done.error["remedy"]


async def test_sleep_refused_forced_and_done(commands) -> None:
    house = await commands(satellite("one"))
    house.fleet.busy = True
    done = await house.run("sleep", "one")
    assert done.code == 3
    assert done.err.startswith("TPR-2001 ")
    done = await house.run("sleep", "one", "--force")
    assert (done.code, done.out) == (0, "acme/one is asleep (hibernated)\n")
    done = await house.run("sleep", "one")
    assert (done.code, done.out) == (0, "acme/one is asleep (hibernated)\n")


async def test_update(commands) -> None:
    house = await commands(asleep("one"))
    done = await house.run(
        *("update", "one", "--sleep-after", "90s", "--size", "", "--set", "worker="),
        *("--sleep-mode", "stop", "--json"),
    )
    assert (done.code, done.json["sleep_after"], done.json["sleep_mode"]) == (0, 90, "stop")
    [changes] = house.fleet.changes
    assert (changes.size, changes.settings) == ("", {"worker": ""})
    done = await house.run("update", "one")
    assert done.code == 2
    assert "nothing to change" in done.err


async def test_an_update_of_the_machine_is_waited_for(commands) -> None:
    house = await commands(asleep("one"), asleep("two"))
    done = await house.run("update", "one", "--size", "big")
    assert (done.code, done.out) == (0, "acme/one is asleep (hibernated)\n")
    assert "acme/one updating: the machine is being updated" in done.err
    done = await house.run("update", "two", "--size", "big", "--no-wait", "--json")
    assert (done.code, done.json["change_pending"]) == (0, True)


async def test_a_change_that_waits_is_told(commands) -> None:
    house = await commands(satellite("one", wanted=Wanted("big", {})))
    for command in (("inspect", "one"), ("ls",)):
        assert "a change waits until it is stopped" in " ".join(
            (await house.run(*command)).out.split()
        )


async def test_repair(commands) -> None:
    house = await commands(satellite(state=State.FAILED, failure="TPR-2205 i-1"))
    done = await house.run("repair", "one", "--json")
    assert (done.code, done.json["state"], done.json["generation"]) == (0, "running", 2)
    assert (await house.run("repair", "one")).code == 3


async def test_rm_waits_for_the_end(commands) -> None:
    house = await commands(satellite("one"), asleep("two"))
    assert (await house.run("rm", "one", "--yes")).code == 3
    done = await house.run("rm", "one", "--force", "--yes")
    assert (done.code, done.out) == (0, "acme/one is terminated\n")
    done = await house.run("rm", "two", "--no-wait", "--yes")
    assert (done.code, done.out) == (0, "acme/two is terminating\n")
    done = await house.run("rm", "one", "--yes")
    assert done.code == 3
    assert done.err.startswith("TPR-2009 ")


async def test_an_end_that_was_missed_is_an_end(commands, monkeypatch) -> None:
    house = await commands(asleep("one"))
    end = house.fleet.terminate

    async def at_once(satellite_id, **options):
        ending = await end(satellite_id, **options)
        await house.fleet.becomes("one", State.TERMINATED)
        return ending

    monkeypatch.setattr(house.fleet, "terminate", at_once)
    done = await house.run("rm", "one", "--json", "--yes")
    assert (done.code, done.json["state"]) == (0, "terminated")


async def test_an_end_that_fails_is_told(commands) -> None:
    house = await commands(asleep("one"), by_itself=False)
    ending = asyncio.create_task(house.run("rm", "one", "--yes"))
    await house.fleet.until("terminate")
    await house.fleet.becomes("one", State.FAILED, failure="TPR-2206 no ec2:TerminateInstances")
    done = await ending
    assert done.code == 3
    assert "no ec2:TerminateInstances" in done.err


async def test_follow_prints_a_line_at_each_change(commands) -> None:
    house = await commands(asleep("one"), by_itself=False, beat=0.01)
    process = await house.start("follow", "one", "--json")
    assert process.stdout is not None
    lines = [json.loads(await asyncio.wait_for(process.stdout.readline(), LONG))]
    for state in (State.WAKING, State.RUNNING, State.TERMINATED):
        await house.fleet.becomes("one", state)
        lines.append(json.loads(await asyncio.wait_for(process.stdout.readline(), LONG)))
    assert [line["satellite"]["state"] for line in lines] == [
        *("asleep", "waking", "running", "terminated")
    ]
    assert await asyncio.wait_for(process.wait(), LONG) == 0
    assert await process.stdout.read() == b"", "beats are no news"


async def test_follow_for_people(commands) -> None:
    house = await commands(satellite(state=State.TERMINATING))
    following = asyncio.create_task(house.run("follow", "one"))
    await until(lambda: house.fleet.followers)
    await house.fleet.becomes("one", State.TERMINATED)
    first, last = (await following).out.splitlines()
    assert first == "2026-05-01 12:00:00Z  acme/one terminating: the machine is being ended"
    assert last.endswith("acme/one terminated")


async def test_interrupting_a_wake_does_not_stop_it(commands) -> None:
    house = await commands(asleep("one"), by_itself=False)
    process = await house.start("wake", "one")
    assert process.stderr is not None
    await asyncio.wait_for(process.stderr.readline(), LONG)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), LONG) == 130
    rest = (await process.stderr.read()).decode()
    assert "Traceback" not in rest
    assert "It goes on without you; 'satellite follow one'" in rest
    assert house.fleet.named("one").state is State.WAKING


async def test_a_stream_goes_on_at_another_router(commands, monkeypatch) -> None:
    from torpor_router.cli import client

    monkeypatch.setattr(client, "_RESUME_EVERY", 0.01)
    house = await commands(asleep("one"), by_itself=False)
    waking = asyncio.create_task(house.run("wake", "one", "--json"))
    await house.fleet.until("wake")
    await house.replace_router()
    await house.fleet.becomes("one", State.RUNNING)
    done = await waking
    assert (done.code, done.json["state"]) == (0, "running")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["ls"], ["inspect", "one"], ["history", "one"], ["wake", "one"], ["sleep", "one"]),
        *(["rm", "one", "--yes"], ["repair", "one"], ["follow", "one"], ["launch", "new"]),
        ["update", "one", "--size", "big"],
    ],
    ids=" ".join,
)
async def test_a_database_that_is_away_may_come_back(commands, arguments) -> None:
    house = await commands(asleep("one"))
    house.fleet.failure = DatabaseAway("ConnectionRefusedError")
    done = await house.run(*arguments)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("TPR-5205 ")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["inspect", "one"], ["history", "one"], ["wake", "one"], ["sleep", "one"]),
        *(["rm", "one", "--yes"], ["repair", "one"], ["follow", "one"]),
        ["update", "one", "--size", "big"],
    ],
    ids=" ".join,
)
async def test_another_orgs_satellite_is_unknown(commands, arguments) -> None:
    house = await commands(asleep("one", GLOBEX))
    done = await house.run(*arguments, "--json")
    assert (done.code, done.out, done.error["code"]) == (3, "", "TPR-2009")
    assert done.error["status"] == "NOT_FOUND"
