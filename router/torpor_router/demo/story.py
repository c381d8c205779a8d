"""The story: a build, a sleep, many builds at once at a sleeping satellite, one wake."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.control.v1 import torpor_pb2_grpc as rpc
from torpor_router.demo.clients import BuildCaller, Built, build, build_at_once
from torpor_router.demo.clouds import AnyCloud
from torpor_router.demo.narrator import Narrator
from torpor_router.demo.stage import ORG, Stage

NAME = "one"
SLEEP_AFTER = 4  # seconds
FALLS_ASLEEP_WITHIN = 180.0  # seconds
LAUNCH_WITHIN = 180.0
# "Compiles" each source once: what it made before comes out of the cache on the satellite's disk
SCRIPT = """
for source in src/*; do
    object="$TORPOR_CACHE/$(cksum < "$source" | cut -d' ' -f1)"
    if [ -e "$object" ]; then echo "cached    $source"
    else sleep 0.2; tr a-z A-Z < "$source" > "$object"; echo "compiled  $source"; fi
done
"""
COMMAND = ["sh", "-ec", SCRIPT]
SOURCES = ("lexer", "parser", "linker")


@dataclass(frozen=True, slots=True)
class Cast:
    """Everyone on the stage."""

    stage: Stage
    cloud: AnyCloud
    caller: BuildCaller
    satellites: rpc.SatellitesAsyncStub
    metadata: tuple[tuple[str, str], ...]
    sources: Path
    narrator: Narrator


async def play(stage: Stage, cloud: AnyCloud, narrator: Narrator, builds: int) -> None:
    """Tell it; `narrator.true` says whether it came true.

    Raises:
        grpc.aio.AioRpcError: a router refused what the story needs.
        TimeoutError: something never came about.
    """
    caller = BuildCaller(f"{ORG}/{NAME}", stage.token)
    with tempfile.TemporaryDirectory() as folder:
        async with grpc.aio.insecure_channel(stage.targets[0]) as channel:
            cast = Cast(
                stage,
                cloud,
                caller,
                rpc.SatellitesStub(channel),
                (("authorization", f"Bearer {stage.token}"),),
                _write_sources(Path(folder)),
                narrator,
            )
            await _launch(cast)
            counter = await _build(cast)
            await _fall_asleep(cast)
            await _wake_up(cast, builds, counter)
            await _why(cast)


def _write_sources(folder: Path) -> Path:
    (folder / "src").mkdir()
    for name in SOURCES:
        (folder / "src" / f"{name}.txt").write_text(f"this is the {name}\n")
    return folder


async def _launch(cast: Cast) -> None:
    cast.narrator.chapter(f"A customer, {ORG}, gets a machine of its own: {cast.caller.satellite}")
    request = pb.LaunchRequest(
        name=NAME, provisioner=cast.cloud.name, sleep_after=Duration(seconds=SLEEP_AFTER)
    )
    with cast.narrator.waiting("launched"):
        await cast.satellites.Launch(request, metadata=cast.metadata)
        await _reaches(cast, pb.STATE_RUNNING, LAUNCH_WITHIN)


async def _build(cast: Cast) -> int:
    """Two builds; how many the worker has counted in its memory."""
    narrator = cast.narrator
    narrator.chapter("A build through the door, then the same once more")
    target = cast.stage.targets[0]
    cold = await build(target, cast.caller, cast.sources, COMMAND, narrator.output)
    lines: list[str] = []
    warm = await build(target, cast.caller, cast.sources, COMMAND, lines.append)
    for line in lines:
        narrator.output(line)
    narrator.say(f"{cold.took:.1f} s cold, {warm.took:.1f} s with warm caches")
    good = cold.ok and warm.ok and all(line.startswith("cached") for line in lines)
    narrator.check(
        "both built, the second from the cache", true=good, found=cold.error + warm.error
    )
    return warm.counter


async def _fall_asleep(cast: Cast) -> None:
    narrator = cast.narrator
    narrator.chapter(f"Nobody builds; after {SLEEP_AFTER} s it may sleep")
    with narrator.waiting("fell asleep"):
        seen = await _reaches(cast, pb.STATE_ASLEEP, FALLS_ASLEEP_WITHIN)
    kind = pb.SleepKind.Name(seen.sleep_kind).removeprefix("SLEEP_KIND_").lower()
    narrator.check(f"it sleeps, {kind}: its memory is kept", true=kind == "hibernated", found=kind)


async def _wake_up(cast: Cast, builds: int, counter: int) -> None:
    narrator, targets = cast.narrator, cast.stage.targets
    narrator.chapter(f"{builds} builds at once, through {len(targets)} routers, while it sleeps")
    before = cast.cloud.wakes()
    with narrator.waiting("all answered"):
        built = await build_at_once(targets, cast.caller, cast.sources, COMMAND, builds)
    wakes = cast.cloud.wakes() - before
    _tell_held(narrator, built)
    failed = [one for one in built if not one.ok]
    narrator.check(
        f"all {builds} builds succeeded",
        true=not failed,
        found=f"{len(failed)} failed, the first with {failed[0].error}" if failed else "",
    )
    narrator.check("the machine was woken by exactly 1 call", true=wakes == 1, found=f"{wakes}")
    counted = sorted(one.counter for one in built)
    expected = list(range(counter + 1, counter + 1 + builds))
    narrator.check(
        f"its memory was kept: it counted on from {counter} to {counter + builds}",
        true=counted == expected,
        found=f"{counted[0]} to {counted[-1]}",
    )


def _tell_held(narrator: Narrator, built: list[Built]) -> None:
    held = sorted(one.held for one in built if one.held is not None)
    if not held:
        narrator.check("the builds were held", true=False, found="none says so")
        return
    narrator.table(
        ("held", "builds", "shortest", "median", "longest"),
        [
            (
                "",
                f"{len(held)} of {len(built)}",
                f"{held[0]:.2f} s",
                f"{statistics.median(held):.2f} s",
                f"{held[-1]:.2f} s",
            )
        ],
    )


async def _why(cast: Cast) -> None:
    cast.narrator.chapter("Why it was awake, and why it slept: the transitions log")
    request = pb.TransitionsRequest(name=NAME)
    reply = await cast.satellites.Transitions(request, metadata=cast.metadata)
    rows = []
    for step in reversed(reply.transitions):
        took = f"{step.took.ToTimedelta().total_seconds():.1f} s" if step.HasField("took") else ""
        kind = pb.WakeKind.Name(step.wake_kind).removeprefix("WAKE_KIND_").lower()
        kind = "" if kind == "unspecified" else kind
        rows.append((step.event, step.actor, step.reason, took, kind))
    cast.narrator.table(("event", "who", "why", "took", "wake kind"), rows)
    woke = sum(row[0] == "woke" for row in rows)
    cast.narrator.check("the log has one wake", true=woke == 1, found=f"{woke}")


async def _reaches(cast: Cast, state: pb.State.ValueType, within: float) -> pb.Satellite:
    call = cast.satellites.Follow(pb.FollowRequest(name=NAME), metadata=cast.metadata)
    try:
        async with asyncio.timeout(within):
            async for progress in call:
                if progress.satellite.state == state:
                    return progress.satellite
                if progress.satellite.state == pb.STATE_FAILED:
                    raise TimeoutError(progress.satellite.failure)
    finally:
        call.cancel()
    raise TimeoutError(f"the satellite never became {pb.State.Name(state)}")
