"""`satellite` and `torpor`, as processes, against a router node, through the door."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from e2ekit.deployment import Deployment, Node
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from waiting import LONG

from torpor_provisioner.sample.client import build, info


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Commands as acme's owner types them."""

    def __init__(self, deployment: Deployment, token: str) -> None:
        [node] = deployment.nodes
        self.deployment = deployment
        self.node: Node = node
        self.token = token

    async def start(self, command: str, *arguments: str, **environment: str) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"torpor_router.cli.{command}", *arguments),
            env={
                **os.environ,
                "TORPOR_ADDRESS": self.node.target,
                "TORPOR_TOKEN": self.token,
                "TORPOR_DATABASE_URL": self.deployment.url,
                **environment,
            },
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, command: str, *arguments: str, **environment: str) -> Done:
        process = await self.start(command, *arguments, **environment)
        out, err = await asyncio.wait_for(process.communicate(), LONG)
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    async def told(self, *arguments: str) -> Any:
        """What `satellite ... --json` answers."""
        done = await self.run("satellite", *arguments, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)


@pytest.fixture
async def shell(torpor) -> Shell:
    """A node, and a token that was made with `torpor`."""
    deployment = await torpor()
    shell = Shell(deployment, "")
    assert (await shell.run("torpor", "org", "create", "acme")).code == 0
    made = await shell.run("torpor", "token", "create", "acme", "owner", "--json")
    assert made.code == 0, made.err
    shell.token = json.loads(made.out)["token"]
    return shell


async def test_from_nothing_to_a_build_and_back(shell, tmp_path: Path) -> None:
    launched = await shell.told("launch", "one", "--sleep-after", "1h")
    assert launched["state"] == "running"
    metadata = (("satellite", "acme/one"), ("authorization", f"Bearer {shell.token}"))
    async with shell.node.channel() as channel:
        before = await info(channel, metadata, within=LONG)
    assert (await shell.told("sleep", "one"))["sleep_kind"] == "hibernated"
    assert [each["state"] for each in await shell.told("ls")] == ["asleep"]

    source = tmp_path / "source"
    source.mkdir()
    (source / "hello").write_text("hello")
    async with shell.node.channel() as channel:
        events = build(channel, source, ["cat", "hello"], metadata, within=LONG)
        async with aclosing(events):  # type: ignore[type-var]
            lines = [event.line.text async for event in events if event.HasField("line")]
        after = await info(channel, metadata, within=LONG)
    assert lines == [b"hello"]
    assert after.pid == before.pid, "it woke with its memory"

    inspected = await shell.run("satellite", "inspect", "one")
    [why] = [line for line in inspected.out.splitlines() if line.startswith("why ")]
    assert "by token:owner" in why
    assert "(resumed)" in why
    log = await shell.told("history", "one")
    assert [step["event"] for step in log] == [
        *("woke", "wake", "slept", "sleep", "launched", "launch")
    ]

    assert (await shell.told("rm", "one", "--force", "--yes"))["state"] == "terminated"
    assert await shell.told("ls") == []
    assert await shell.deployment.local.owned() == {}


async def test_a_satellite_with_an_open_build_is_not_put_to_sleep(shell) -> None:
    await shell.told("launch", "one")
    metadata = (("satellite", "acme/one"), ("authorization", f"Bearer {shell.token}"))
    async with shell.node.channel() as channel:
        events = build(channel, None, ["sh", "-c", "echo on; sleep 600"], metadata)
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                if event.HasField("line"):
                    break
            done = await shell.run("satellite", "sleep", "one", "--json")
            assert done.code == 3
            assert json.loads(done.err)["error"]["code"] == "TPR-2001"
            assert (await shell.told("inspect", "one"))["satellite"]["idle_since"] is None


async def test_follow_sees_what_others_do(shell) -> None:
    await shell.told("launch", "one")
    following = await shell.start("satellite", "follow", "one", "--json")
    assert following.stdout is not None
    seen = [json.loads(await asyncio.wait_for(following.stdout.readline(), LONG))]
    slept = await shell.run("satellite", "sleep", "one")
    assert slept.out == "acme/one is asleep (hibernated)\n"
    while seen[-1]["satellite"]["state"] != "asleep":
        seen.append(json.loads(await asyncio.wait_for(following.stdout.readline(), LONG)))
    assert (await shell.told("rm", "one", "--yes"))["state"] == "terminated"
    out, _ = await asyncio.wait_for(following.communicate(), LONG)
    seen += [json.loads(line) for line in out.splitlines()]
    assert following.returncode == 0
    states = [each["satellite"]["state"] for each in seen]
    assert (states[0], states[-1]) == ("running", "terminated")
    assert "sleeping" in states


async def test_tenants_and_strangers(shell) -> None:
    await shell.told("launch", "one", "--no-wait")
    theirs = await shell.deployment.token("globex")
    for token, arguments, code in [
        (theirs, ["inspect", "one"], "TPR-2009"),
        (theirs, ["rm", "one", "--force", "--yes"], "TPR-2009"),
        ("tpr_wrong", ["ls"], "TPR-1101"),
    ]:
        done = await shell.run("satellite", *arguments, "--json", TORPOR_TOKEN=token)
        assert (done.code, done.out) == (3, "")
        assert json.loads(done.err)["error"]["code"] == code
    assert [each["name"] for each in await shell.told("ls")] == ["one"]


async def test_followers_go_on_when_the_router_is_replaced(shell) -> None:
    await shell.told("launch", "one")
    following = await shell.start("satellite", "follow", "one", "--json")
    assert following.stdout is not None
    await asyncio.wait_for(following.stdout.readline(), LONG)
    await shell.node.stop()
    assert shell.node.process.returncode == 0, shell.node.log.read_text()
    shell.node = await shell.deployment.node(at=shell.node.address)
    assert (await shell.told("sleep", "one"))["state"] == "asleep"
    state = ""
    while state != "asleep":
        line = await asyncio.wait_for(following.stdout.readline(), LONG)
        assert line, (await following.communicate())[1]
        state = json.loads(line)["satellite"]["state"]
    following.terminate()
    await following.communicate()


async def test_where_no_router_is_it_says_what_to_look_at(shell) -> None:
    done = await shell.run("satellite", "wake", "one", TORPOR_ADDRESS="127.0.0.1:1")
    assert (done.code, done.err.split()[0]) == (4, "TPR-1403")


async def test_health_and_reflection_need_no_token(shell) -> None:
    async with shell.node.channel() as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
            health_pb2.HealthCheckRequest(service="torpor.v1.Satellites"), timeout=LONG
        )
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(  # type: ignore[operator]
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=LONG
        )
        services = {
            service.name
            async for each in reflection
            for service in each.list_services_response.service
        }
    assert "torpor.v1.Satellites" in services
