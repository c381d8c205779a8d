"""Each call of torpor.v1.Satellites, apart from gRPC: a caller and a request in, a reply out.

A satellite is always looked up within its caller's org, so that another org's is as unknown as one
that was never made.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from torpor_router.access.audit import State
from torpor_router.control import parse
from torpor_router.control.detached import DetachedTasks
from torpor_router.control.errors import TooManyWatchers
from torpor_router.control.explaining import STEPS, explained
from torpor_router.control.following import BEAT, Following, has_slept, has_woken, with_beats
from torpor_router.control.messages import satellite_message, transition_message
from torpor_router.control.ports import Caller, Fleet
from torpor_router.control.progress_text import Goal
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.errors import SatelliteEnding, UnknownSatellite
from torpor_statemachine.lifecycle import states
from torpor_statemachine.lifecycle.satellite import Satellite

WATCHERS = 500  # calls of one org that may stay open at a time

Stream = AsyncGenerator[pb.Progress, None]


class Calls:
    """Named as in the .proto, in lower case. All raise TorporError.

    `stop` ends the calls that stay open; their callers go on watching at another router.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        default_provisioner: str,
        stop: asyncio.Event,
        beat: float = BEAT,
        watchers: int = WATCHERS,
    ) -> None:
        self.detached = DetachedTasks()
        self._fleet = fleet
        self._default_provisioner = default_provisioner
        self._stop = stop
        self._beat = beat
        self._most_watchers = watchers
        self._watchers: Counter[UUID] = Counter()

    async def launch(self, caller: Caller, request: pb.LaunchRequest) -> pb.LaunchReply:
        new = parse.new_satellite(
            request, caller.org_id, default_provisioner=self._default_provisioner
        )
        caller.grant.check_satellite(new.name)
        made = await self.detached.run(self._fleet.launch(new, actor=caller.name))
        return pb.LaunchReply(satellite=satellite_message(made))

    async def list(self, caller: Caller, request: pb.ListRequest) -> pb.ListReply:
        size, after = parse.page(request)
        own, only = await self._fleet.list(caller.org_id), caller.grant.satellites
        seen = [
            each
            for each in sorted(own, key=lambda each: each.name)
            if (only is None or each.name in only)
            and each.name > after
            and parse.chosen(request, each)
        ]
        page = seen[:size] if size else seen
        more = page[-1].name if len(page) < len(seen) else ""
        return pb.ListReply(satellites=map(satellite_message, page), next_page_token=more)

    async def get(self, caller: Caller, request: pb.GetRequest) -> pb.GetReply:
        satellite = await self._own(caller, request.name)
        return pb.GetReply(satellite=satellite_message(satellite))

    async def update(self, caller: Caller, request: pb.UpdateRequest) -> pb.UpdateReply:
        satellite = await self._own(caller, request.name)
        changes = parse.changes(parse.masked(request, satellite))
        changed = await self.detached.run(
            self._fleet.update(satellite.id, changes, actor=caller.name)
        )
        return pb.UpdateReply(satellite=satellite_message(changed))

    async def repair(self, caller: Caller, request: pb.RepairRequest) -> pb.RepairReply:
        satellite = await self._own(caller, request.name)
        repaired = await self.detached.run(self._fleet.repair(satellite.id, actor=caller.name))
        return pb.RepairReply(satellite=satellite_message(repaired))

    async def terminate(self, caller: Caller, request: pb.TerminateRequest) -> pb.TerminateReply:
        satellite = await self._own(caller, request.name)
        ended = await self.detached.run(
            self._fleet.terminate(satellite.id, actor=caller.name, force=request.force)
        )
        return pb.TerminateReply(satellite=satellite_message(ended))

    async def transitions(
        self, caller: Caller, request: pb.TransitionsRequest
    ) -> pb.TransitionsReply:
        limit = parse.limit(request.limit)
        satellite = await self._own(caller, request.name)
        log = await self._fleet.history(satellite.id, limit)
        return pb.TransitionsReply(transitions=map(transition_message, log))

    async def explain(self, caller: Caller, request: pb.ExplainRequest) -> pb.ExplainReply:
        satellite = await self._own(caller, request.name)
        log = await self._fleet.history(satellite.id, STEPS)
        return pb.ExplainReply(
            summary=explained(satellite, log, datetime.now(UTC)),
            satellite=satellite_message(satellite),
            transitions=map(transition_message, log),
        )

    async def wake(self, caller: Caller, request: pb.WakeRequest) -> Stream:
        before = await self._own(caller, request.name)
        has_woken(before, before)  # one that has failed or ends is told so, with what to do

        async def ask() -> Satellite:
            return await self.detached.run(self._fleet.wake(before.id, actor=caller.name))

        with self._watching(caller):
            begun = await ask()
            watch = Following(Goal.AWAKE, before)
            async with aclosing(self._seen(begun)) as sightings:
                async for now, changed in sightings:
                    if now.state is states.State.ASLEEP and not changed:
                        await ask()  # nobody is at work on it: its last wake failed just now, say
                    over = has_woken(before, now)
                    yield watch.progress(now)
                    if over:
                        return
        raise SatelliteEnding(before.full_name)

    async def sleep(self, caller: Caller, request: pb.SleepRequest) -> Stream:
        before = await self._own(caller, request.name)
        with self._watching(caller):
            begun = await self.detached.run(
                self._fleet.sleep(before.id, actor=caller.name, force=request.force)
            )
            watch = Following(Goal.ASLEEP, before)
            async with aclosing(self._seen(begun)) as sightings:
                async for now, _ in sightings:
                    over = has_slept(now)
                    yield watch.progress(now)
                    if over:
                        return
        raise SatelliteEnding(before.full_name)

    async def follow(self, caller: Caller, request: pb.FollowRequest) -> Stream:
        satellite = await self._own(caller, request.name)
        with self._watching(caller):
            watch = Following(Goal.NONE, satellite)
            async with aclosing(self._seen(satellite)) as sightings:
                async for now, _ in sightings:
                    yield watch.progress(now)
                    if now.state is states.State.TERMINATED:
                        return

    async def _seen(self, first: Satellite) -> AsyncGenerator[tuple[Satellite, bool], None]:
        """The satellite as it is `first`, at each change and at each beat; whether it changed."""
        yield first, True
        now = first
        updates = self._fleet.follow(first.id)
        async with aclosing(with_beats(updates, self._stop, self._beat)) as beats:
            async for update in beats:
                if update is None:
                    yield now, False
                elif update.epoch >= now.epoch and update != now:
                    now = update
                    yield now, True

    async def snapshot(self, caller: Caller, request: Any) -> State | None:
        """What the audit log keeps of the satellite that a request names."""
        satellite = await self._fleet.find(caller.org_id, request.name)
        return None if satellite is None else _state(satellite)

    async def _own(self, caller: Caller, name: str) -> Satellite:
        caller.grant.check_satellite(parse.name(name))
        satellite = await self._fleet.find(caller.org_id, name)
        if satellite is None:
            raise UnknownSatellite(f"{caller.org}/{name}")
        return satellite

    @contextmanager
    def _watching(self, caller: Caller) -> Iterator[None]:
        if self._watchers[caller.org_id] >= self._most_watchers:
            raise TooManyWatchers(f"{self._most_watchers} are open")
        self._watchers[caller.org_id] += 1
        try:
            yield
        finally:
            self._watchers[caller.org_id] -= 1
            if not self._watchers[caller.org_id]:
                del self._watchers[caller.org_id]


def _state(satellite: Satellite) -> State:
    """Not the values of settings: some are secrets."""
    return {
        "state": satellite.state,
        "size": satellite.size,
        "sleep_mode": satellite.sleep_mode,
        "sleep_after": satellite.sleep_after.total_seconds(),
        "settings": sorted(satellite.settings),
        "labels": dict(satellite.labels),
        "schedule": satellite.schedule,
        "change_pending": satellite.change_pending,
    }
