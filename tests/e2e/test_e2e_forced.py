"""What becomes of open streams when their satellite is taken from under them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

import grpc
import pytest
from clientkit.untyped import untyped
from e2ekit.deployment import Deployment, Node, Satellite
from waiting import LONG

from torpor_provisioner.contract import SleepKind

SERVICE = "/torpor.test.Shapes/"


class Builds:
    """Two open streams on one connection, and how they end."""

    def __init__(self, node: Node, satellite: Satellite) -> None:
        self.channel = node.channel()
        method = untyped(self.channel).stream_stream(SERVICE + "Both")
        self._calls = [method(metadata=satellite.metadata, timeout=LONG) for _ in range(2)]

    async def answer(self) -> bool:
        for call in self._calls:
            await call.write(b"ab")
        return [await call.read() for call in self._calls] == [b"ba"] * 2

    async def told(self) -> str:
        """What both were told, which is the same."""
        assert {await call.code() for call in self._calls} == {grpc.StatusCode.UNAVAILABLE}
        [told] = {await call.details() for call in self._calls}
        return str(told)

    async def codes(self) -> set[str]:
        return {dict(await call.trailing_metadata())["x-torpor-code"] for call in self._calls}


@pytest.fixture
async def deployment(torpor, shapes) -> Deployment:
    return await torpor(nodes=0, LOCAL_WORKER=shapes)


async def run(node: Node, satellite: Satellite, *words: str) -> None:
    """`satellite WORDS` as the org's token, through one node."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torpor_router.cli.satellite", *words, "--address", node.target),
        env={**os.environ, "TORPOR_TOKEN": satellite.token},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


ENDS: Sequence[tuple[Sequence[str], SleepKind, str]] = (
    (("sleep", "one", "--force"), SleepKind.HIBERNATED, "TPR-2102"),
    (("sleep", "one", "--force"), SleepKind.STOPPED, "TPR-2102"),
    (("rm", "one", "--force", "--yes"), SleepKind.HIBERNATED, "TPR-2103"),
)


@pytest.mark.parametrize("options", [(), ("--poll-only",)], ids=["listen", "poll-only"])
@pytest.mark.parametrize(("words", "how", "code"), ENDS)
async def test_builds_are_told_who_cut_them(
    deployment: Deployment, options, words, how: SleepKind, code: str
) -> None:
    """On the node that was asked, and on another."""
    asked, other = [await deployment.node(*options) for _ in range(2)]
    satellite = await deployment.satellite("acme/one", asleep=how)
    builds = [Builds(node, satellite) for node in (asked, other)]
    assert all([await each.answer() for each in builds])
    await run(asked, satellite, *words)
    told = await asyncio.gather(*(each.told() for each in builds))
    assert told[0].startswith(code)
    assert await builds[0].codes() == {code}
    assert "by token:test (forced)" in told[0]
    worker_ends = how is SleepKind.STOPPED or words[0] == "rm"
    if not (worker_ends and options):  # else its own last words come before the next heartbeat
        assert told[1] == told[0]
    for each in builds:
        await each.channel.close()


async def test_a_machine_that_somebody_put_to_sleep_ends_its_streams(
    deployment: Deployment,
) -> None:
    node = await deployment.node()
    satellite = await deployment.satellite("acme/one")
    builds = Builds(node, satellite)
    assert await builds.answer()
    await deployment.local.sleep(satellite.ref, SleepKind.HIBERNATED)  # behind Torpor's back
    await deployment.fetch(
        """update satellites set
            state_since = now() - interval '1 hour', checked_at = now() - interval '1 hour'"""
    )
    told = await builds.told()
    assert told.startswith("TPR-2104")
    again = Builds(node, satellite)  # and the next request wakes it
    assert await again.answer()
    for each in (builds, again):
        await each.channel.close()


async def test_a_lease_that_went_missing_cuts_nothing(deployment: Deployment) -> None:
    node = await deployment.node()
    satellite = await deployment.satellite("acme/one")
    builds = Builds(node, satellite)
    assert await builds.answer()
    await deployment.fetch("delete from leases")
    async with asyncio.timeout(LONG):
        while not await deployment.fetch("select from leases"):
            await asyncio.sleep(0.05)
    assert await builds.answer()
    await builds.channel.close()
