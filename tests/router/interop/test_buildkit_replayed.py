"""BuildKit's own clients and daemon, recorded, played through a real door (see `replaykit`).

buildctl and buildkitd 0.32.2, buildx 0.36.1: a build with 1 MB of context, a secret and 3 MB of tar
exported; a step that fails; Ctrl-C in the middle of a step; a satellite that had to wake; `debug
workers` and `inspect --bootstrap`. What they need of the door:

- Up to four calls at once on one connection, `Session` and `Status` open for as long as the build.
- `Session` carries HTTP/2 inside its messages, and the worker is the client there: it asks the
  build's machine for files, secrets, and each 5 s whether it lives. Nothing may be kept back.
- `Session`'s request names each service it exposes in a field of the same name, a dozen of them.
- PINGs of both sides at each turn, by which grpc-go measures: the other side answers them.
- A build that was cancelled: `Solve` is reset, and `Session` and `Status` end in their own time.
- A client that vanishes: the worker is told at once, or its step runs on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import replaykit
from doorkit.house import House
from replaykit.listener import inside
from replaykit.older import VERSIONS, as_of
from replaykit.play import PLENTY, ClientPlayer, Player, WorkerPlayer, serving
from replaykit.recording import Recording
from waiting import until

FOLDER = Path(replaykit.__path__[0]) / "recordings"
RECORDINGS = sorted(FOLDER.glob("*.jsonl"))
ASKS = ((b"satellite", b"acme/one"), (b"authorization", b"Bearer secret"))
SESSION, SOLVE = "/moby.buildkit.v1.Control/Session", "/moby.buildkit.v1.Control/Solve"
STATUS = "/moby.buildkit.v1.Control/Status"


class Played(NamedTuple):
    client: ClientPlayer
    worker: WorkerPlayer

    async def till(self, before: int | None = None) -> None:
        playing = asyncio.gather(*(each.play(before) for each in self))
        await until(playing.done, "the play stands still")
        await playing


@asynccontextmanager
async def playing(
    house: House, recording: Recording, *, awake: bool = True, window: int = PLENTY
) -> AsyncIterator[Played]:
    """Both players, with a satellite that wakes as soon as somebody waits for it."""
    worker = WorkerPlayer(recording, window=window)
    client = ClientPlayer(recording, house.address, ASKS, window=window)
    async with serving(worker) as address:
        satellite = house.gate.add("acme/one", address, awake=awake)

        async def wake() -> None:
            await until(lambda: house.gate.waiting, "nobody waits for the satellite")
            house.gate.awake[satellite].set()

        waking = asyncio.create_task(wake()) if not awake else None
        try:
            yield Played(client, worker)
        finally:
            if waking is not None:
                waking.cancel()
            await client.aclose()
    await until(lambda: not house.gate.inside.total(), "a call is still counted")


@pytest.fixture(scope="module", params=RECORDINGS, ids=lambda file: file.stem)
def recording(request) -> Recording:
    return Recording.read(request.param)


def named(name: str) -> Recording:
    return Recording.read(FOLDER / f"{name}.jsonl")


def pings(recording: Recording, player: Player) -> int:
    return sum(each.kind == "ping" and each.by == player.by for each in recording.events)


@pytest.mark.parametrize("awake", [True, False], ids=["hot", "cold"])
@pytest.mark.parametrize("window", [PLENTY, 65_535, 4_000], ids=["wide", "usual", "narrow"])
async def test_a_recorded_build_passes_as_it_was(recording, house_with, awake, window):
    house = await house_with()
    async with playing(house, recording, awake=awake, window=window) as played:
        await played.till()
        for each in played:
            assert each.differences == []
            asked = pings(recording, each)
            await until(lambda each=each, asked=asked: each.acknowledged == asked, "a lost PING")  # type: ignore[misc]
        assert bool(played.client.added) is not awake, "who was held is told so, and nobody else"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["buildctl-workers", "buildctl-build"])
async def test_an_older_worker_passes_likewise(house_with, name, version):
    recording = as_of(version, named(name))
    assert recording != named(name)
    async with playing(await house_with(), recording, awake=False) as played:
        await played.till()
        assert played.client.differences == played.worker.differences == []


async def test_a_build_may_be_silent_for_longer_than_anything_else_may_last(house_with):
    """A step that says nothing for an hour is no connection that stands still."""
    recording = named("buildctl-cancelled")
    quiet = {"preface_timeout": 0.2, "header_timeout": 0.2, "first_request_timeout": 0.2}
    house = await house_with(**quiet, idle_timeout=0.2, write_stall=0.2)
    tick = [each.by == "worker" and each.at > 4 for each in recording.events].index(True)
    async with playing(house, recording) as played:
        await played.till(tick)
        await asyncio.sleep(1)
        await played.till()
        assert played.client.differences == played.worker.differences == []


@pytest.mark.parametrize("awake", [True, False], ids=["hot", "cold"])
async def test_a_client_that_vanishes_takes_its_build_along(house_with, awake):
    recording = named("buildctl-cancelled")
    reset = [each.kind == "reset" for each in recording.events].index(True)
    house = await house_with()
    async with playing(house, recording, awake=awake) as played:
        await played.till(reset)
        assert set(played.worker.open_calls) == {SESSION, SOLVE, STATUS}
        played.client.vanish()
        await until(lambda: not played.worker.open_calls, "the worker builds on")


def test_the_recordings_hold_what_is_said_of_them():
    """So that none is replaced by one that shows less."""
    cancelled = named("buildctl-cancelled")
    within = [each.path for each in inside(cancelled.call(SESSION)).calls()]
    assert within.count("/moby.filesync.v1.FileSync/DiffCopy") == 3
    assert within.count("/grpc.health.v1.Health/Check") == 2, "each 5 s"
    assert [each.kind for each in cancelled.call(SOLVE)] == ["headers", "message", "end", "reset"]
    exposed = cancelled.call(SESSION)[0].field(b"x-docker-expose-session-grpc-method")
    assert len(exposed) == len(set(exposed)) > 8

    failed = dict(named("buildctl-fails").call(SOLVE)[-1].fields)
    assert failed[b"grpc-status"] == b"2"
    assert len(failed[b"grpc-status-details-bin"]) > 2_000

    build = named("buildctl-build")
    carried = [each for each in build.call(SESSION) if each.kind == "message"]
    assert sum(len(each.octets) for each in carried if each.by == "client") > 1_000_000
    assert sum(len(each.octets) for each in carried if each.by == "worker") > 2_000_000

    calls = [each.path.rpartition("/")[2] for each in named("buildx-build").calls()]
    assert calls.count("Solve") == 3, "the probe, the build, and the frontend's own"
    assert calls[-2:] == ["ListenBuildHistory", "Export"]
    assert calls.index("Return") < calls.index("Solve", calls.index("Solve") + 1)

    first, *_ = (each for each in named("buildctl-held").events if each.kind == "trailers")
    assert first.at > 5, "ListWorkers was held for the wake"
