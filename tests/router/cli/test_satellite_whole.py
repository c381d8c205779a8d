"""The commands on the real thing: Postgres, the lifecycle, tokens, and machines of this machine."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from documented import as_documented

from torpor_provisioner.contract import Address
from torpor_provisioner.local import read_calls
from torpor_router.access.roles import Role
from torpor_router.access.store import Store
from torpor_router.probe import answers


async def test_whoami_tells_what_a_token_allows(house, database) -> None:
    run, _ = house
    store = Store(database)
    _, ci = await store.create_token("acme", "build", role=Role.CI, satellites=["one"])
    _, operator = await store.create_token("", "ops", role=Role.OPERATOR)
    done = await run("whoami", token=ci)
    assert done.exit_code == 0, done.stderr
    assert [line.split(None, 1) for line in done.stdout.splitlines()] == [
        ["org", "acme"],
        ["caller", "token:build"],
        ["may", "build, wake"],
        ["satellites", "one"],
    ]
    refused = await run("launch", "two", token=ci)
    assert (refused.exit_code, "TPR-1130" in refused.stderr) == (3, True)
    assert "TPR-1135" in (await run("ls", token=operator)).stderr
    seen = json.loads((await run("whoami", "--org", "acme", "--json", token=operator)).stdout)
    assert (seen["org"], seen["caller"]) == ("acme", "operator:ops")
    assert "build" not in seen["rights"]
    assert (await run("ls", "--org", "acme", token=operator)).exit_code == 0


async def test_usage_is_of_the_org_and_of_what_a_token_is_for(house, database) -> None:
    run, _ = house
    store = Store(database)
    await store.create_org("globex")
    _, other = await store.create_token("globex", "ci")
    _, narrow = await store.create_token("acme", "narrow", satellites=["two"])
    await database.execute(
        """insert into satellites (org_id, name, provisioner, arch, state, state_since)
        select id, each, 'local', 'x86_64', 'running', now() - interval '100 s' from orgs
        cross join unnest('{one,two}'::text[]) as each where orgs.name = 'acme'"""
    )
    today = ("--from", (datetime.now(UTC) - timedelta(minutes=5)).date().isoformat())
    told = json.loads((await run("usage", *today, "--json")).stdout)
    as_documented(told, "usage")
    assert told["currency"] == "USD"
    assert [line["name"] for line in told["lines"]] == ["acme/one", "acme/two"]
    assert [float(line["spent"]) >= 1.0 for line in told["lines"]] == [True, True]
    assert json.loads((await run("usage", *today, "--json", token=other)).stdout)["lines"] == []
    shown = await run("usage", *today, token=narrow)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["WHAT", "acme/two", "total"]
    assert "Money in USD" in shown.stderr
    spread = (await run("usage", *today, "--by", "size", "--csv")).stdout
    assert [line.split(",")[0] for line in spread.splitlines()] == ["name", "local"]
    wrong = await run("usage", "--from", "yesterday")
    assert (wrong.exit_code, "TPR-5227" in wrong.stderr) == (2, True), wrong.stderr


async def test_the_life_of_a_satellite(house) -> None:
    run, local = house

    async def told(*arguments: str) -> Any:
        done = await run(*arguments, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    launched = await told("launch", "one", "--sleep-after", "1h")
    assert (launched["org"], launched["state"], launched["sleep_after"]) == (
        "acme",
        "running",
        3600,
    )
    assert launched["address"].startswith("unix:/")
    assert await answers(Address(launched["address"].removeprefix("unix:"), 0), 5.0)
    assert [each["name"] for each in await told("ls")] == ["one"]

    slept = await told("sleep", "one")
    assert (slept["state"], slept["sleep_kind"]) == ("asleep", "hibernated")
    woken = await told("wake", "one")
    assert (woken["state"], woken["id"]) == ("running", launched["id"])
    assert [call.call for call in read_calls(local.folder)] == ["launch", "sleep", "wake"]

    inspected = await run("inspect", "one")
    assert "wake: asked, by token:ci" in inspected.stdout
    assert "(resumed)" in inspected.stdout
    events = [step["event"] for step in await told("history", "one")]
    assert events == ["woke", "wake", "slept", "sleep", "launched", "launch"]

    changed = await told("update", "one", "--sleep-after", "90s", "--sleep-mode", "stop")
    assert (changed["sleep_after"], changed["sleep_mode"]) == (90, "stop")
    assert (await told("sleep", "one"))["sleep_kind"] == "stopped"
    assert (await told("rm", "one", "--yes"))["state"] == "terminated"
    assert await told("ls") == []
    assert await local.owned() == {}


async def test_what_the_lifecycle_refuses_is_told_with_its_code(house) -> None:
    run, _ = house
    refused = {
        "a wrong token": (await run("ls", token="wrong"), 3, "TPR-1101"),
        "none of that name": (await run("wake", "one"), 3, "TPR-2009"),
        "no such cloud": (await run("launch", "one", "--provisioner", "moon"), 2, "TPR-2004"),
    }
    launched = await run("launch", "one")
    assert launched.exit_code == 0, launched.stderr
    refused |= {
        "taken": (await run("launch", "one"), 3, "TPR-2003"),
        "not failed": (await run("repair", "one"), 3, "TPR-2010"),
        "not changeable": (await run("update", "one", "--set", "worker=other"), 3, "TPR-2011"),
        "no such worker": (await run("launch", "two", "--set", "worker=other"), 2, "TPR-2207"),
        "no such setting": (await run("launch", "two", "--set", "foo=bar"), 2, "TPR-2207"),
    }
    for why, (done, code, first) in refused.items():
        assert (done.exit_code, done.stderr.split()[0]) == (code, first), (why, done.stderr)
        assert done.stdout == "", why
