"""A fleet in memory: it does what a test says, and keeps what it was called with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from torpor_provisioner.contract import Address, Arch, SleepKind
from torpor_provisioner.errors import TorporError
from torpor_router.access.roles import UNLIMITED, Grant
from torpor_router.errors import NoCredentials
from torpor_router.peer_info import PeerInfo
from torpor_statemachine.errors import NameTaken, SatelliteBusy, WrongState
from torpor_statemachine.lifecycle.satellite import Satellite, Transition, Wanted
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode, State, WakeKind

ACME, GLOBEX = uuid4(), uuid4()
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class FakeCaller:
    org_id: UUID
    org: str
    name: str
    grant: Grant = UNLIMITED
    token_id: UUID | None = None


class FakeCallers:
    """Two orgs; each has one token, which is its name."""

    def __init__(self) -> None:
        self.known = {
            "acme": FakeCaller(ACME, "acme", "token:ci"),
            "globex": FakeCaller(GLOBEX, "globex", "token:ci"),
        }
        self.failure: Exception | None = None
        self.gate = asyncio.Event()  # unknown tokens wait for it
        self.gate.set()
        self.waiting = 0

    async def caller(self, token: str, peer: PeerInfo, org: str) -> FakeCaller:
        if self.failure is not None:
            raise self.failure
        if token not in self.known:
            self.waiting += 1
            await self.gate.wait()
            raise NoCredentials("unknown token")
        return self.known[token]


def satellite(name: str = "one", org_id: UUID = ACME, **fields: Any) -> Satellite:
    org = "acme" if org_id == ACME else "globex"
    whole = {
        "id": uuid4(),
        "org_id": org_id,
        "org": org,
        "name": name,
        "provisioner": "local",
        "arch": Arch.X86_64,
        "size": "",
        "sleep_mode": SleepMode.AUTO,
        "sleep_after": timedelta(minutes=30),
        "state": State.RUNNING,
        "state_since": NOON,
        "created_at": NOON,
        "generation": 1,
        "epoch": 7,
        "ref": "local-1",
        "address": Address("127.0.0.1", 4000),
        "idle_since": NOON,
    }
    return Satellite(**{**whole, **fields})


def asleep(name: str = "one", org_id: UUID = ACME, **fields: Any) -> Satellite:
    return satellite(
        name, org_id, **{"state": State.ASLEEP, "sleep_kind": SleepKind.HIBERNATED, **fields}
    )


Satellites = list[Satellite]  # `list` is a method's name below
Transitions = list[Transition]


class FakeFleet:
    """`asked` holds (call, name, actor) in order. With `by_itself`, what begins also ends, once a
    follower has seen that it began.

    `failure` is raised by every call; `gate`, while clear, keeps every change waiting.
    """

    def __init__(self, *satellites: Satellite, by_itself: bool = False) -> None:
        self.satellites = {each.id: each for each in satellites}
        self.asked: list[tuple[str, str, str]] = []
        self.log: list[Transition] = []
        self.failure: Exception | None = None
        self.busy = False
        self.by_itself = by_itself
        self.gate = asyncio.Event()
        self.gate.set()
        self.followers = 0
        self.launched: list[NewSatellite] = []
        self.changes: list[Changes] = []
        self._changed = asyncio.Condition()
        self._shown: set[State] = set()  # states that a follower has been shown
        self._tasks: set[asyncio.Task[None]] = set()

    def named(self, name: str, org_id: UUID = ACME) -> Satellite:
        [found] = [s for s in self.satellites.values() if (s.org_id, s.name) == (org_id, name)]
        return found

    async def becomes(self, name: str, state: State, **fields: Any) -> Satellite:
        """Put the satellite into that state; a new claim is `epoch=...`."""
        async with self._changed:
            before = self.named(name)
            after = replace(before, state=state, state_since=datetime.now(UTC), **fields)
            self.satellites[before.id] = after
            self.log.insert(0, _transition(len(self.log) + 1, before, after))
            self._changed.notify_all()
        return after

    async def until(self, call: str) -> None:
        """Wait until that has been asked for."""
        async with self._changed:
            await self._changed.wait_for(lambda: any(each[0] == call for each in self.asked))

    async def launch(self, new: NewSatellite, *, actor: str) -> Satellite:
        if await self.find(new.org_id, new.name):
            raise NameTaken(new.name)
        await self._ask("launch", new.name, actor)
        self.launched.append(new)
        made = satellite(
            new.name,
            new.org_id,
            arch=new.arch,
            size=new.size,
            sleep_mode=new.sleep_mode,
            sleep_after=new.sleep_after,
            labels=new.labels,
            provisioner=new.provisioner,
            state=State.LAUNCHING,
        )
        self.satellites[made.id] = made
        self._then(made.name, State.RUNNING)
        return made

    async def wake(self, satellite_id: UUID, *, actor: str) -> Satellite:
        now = self.satellites[satellite_id]
        await self._ask("wake", now.name, actor)
        if now.state is State.ASLEEP:
            now = await self.becomes(
                now.name, State.WAKING, epoch=now.epoch + 1, failure=None, sleep_kind=None
            )
            self._then(now.name, State.RUNNING)
        return now

    async def sleep(self, satellite_id: UUID, *, actor: str, force: bool = False) -> Satellite:
        now = self.satellites[satellite_id]
        await self._ask("sleep --force" if force else "sleep", now.name, actor)
        if now.state is State.ASLEEP:
            return now
        if self.busy and not force:
            raise SatelliteBusy(now.full_name)
        now = await self.becomes(now.name, State.SLEEPING, epoch=now.epoch + 1)
        self._then(now.name, State.ASLEEP, sleep_kind=SleepKind.HIBERNATED)
        return now

    async def terminate(self, satellite_id: UUID, *, actor: str, force: bool = False) -> Satellite:
        now = self.satellites[satellite_id]
        await self._ask("terminate --force" if force else "terminate", now.name, actor)
        if now.state is State.RUNNING and not force:
            raise SatelliteBusy(now.full_name)
        now = await self.becomes(now.name, State.TERMINATING, epoch=now.epoch + 1)
        self._then(now.name, State.TERMINATED)
        return now

    async def update(self, satellite_id: UUID, changes: Changes, *, actor: str) -> Satellite:
        now = self.satellites[satellite_id]
        await self._ask("update", now.name, actor)
        self.changes.append(changes)
        size = now.size if changes.size is None else changes.size
        now = await self.becomes(
            now.name,
            now.state,
            size=size,
            sleep_mode=changes.sleep_mode or now.sleep_mode,
            sleep_after=changes.sleep_after or now.sleep_after,
            schedule=now.schedule if changes.schedule is None else changes.schedule,
            labels={k: v for k, v in {**now.labels, **changes.labels}.items() if v},
        )
        if changes.of_machine and now.state is State.ASLEEP:
            wanted = Wanted(size, {})
            now = await self.becomes(now.name, State.UPDATING, epoch=now.epoch + 1, wanted=wanted)
            self._then(now.name, State.ASLEEP, wanted=None)
        return now

    async def repair(self, satellite_id: UUID, *, actor: str) -> Satellite:
        now = self.satellites[satellite_id]
        await self._ask("repair", now.name, actor)
        if now.state is not State.FAILED:
            raise WrongState(now.state)
        now = await self.becomes(
            now.name, State.LAUNCHING, epoch=now.epoch + 1, generation=2, failure=None
        )
        self._then(now.name, State.RUNNING)
        return now

    async def find(self, org_id: UUID, name: str) -> Satellite | None:
        if self.failure is not None:
            raise self.failure
        for each in self.satellites.values():
            if (each.org_id, each.name) == (org_id, name) and each.state is not State.TERMINATED:
                return each
        return None

    async def list(self, org_id: UUID) -> Satellites:
        if self.failure is not None:
            raise self.failure
        return [each for each in self.satellites.values() if each.org_id == org_id]

    async def history(self, satellite_id: UUID, limit: int) -> Transitions:
        return [each for each in self.log if each.satellite_id == satellite_id][:limit]

    async def follow(self, satellite_id: UUID) -> AsyncIterator[Satellite]:
        self.followers += 1
        try:
            seen = self.satellites[satellite_id]
            yield seen
            while seen.state is not State.TERMINATED:
                async with self._changed:
                    self._shown.add(seen.state)
                    self._changed.notify_all()
                    while self.satellites[satellite_id] == seen:
                        await self._changed.wait()
                    seen = self.satellites[satellite_id]
                yield seen
        finally:
            self.followers -= 1

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, call: str, name: str, actor: str) -> None:
        async with self._changed:
            self.asked.append((call, name, actor))
            self._changed.notify_all()
        await self.gate.wait()
        if isinstance(self.failure, TorporError):
            raise self.failure

    def _then(self, name: str, state: State, **fields: Any) -> None:
        begun = self.named(name).state

        async def end() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: begun in self._shown)
            await self.becomes(name, state, **fields)

        if self.by_itself:
            task = asyncio.create_task(end())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def _transition(number: int, before: Satellite, after: Satellite) -> Transition:
    awake = after.state is State.RUNNING
    return Transition(
        id=number,
        satellite_id=after.id,
        epoch=after.epoch,
        event={State.WAKING: "wake", State.RUNNING: "woke"}.get(after.state, str(after.state)),
        source=before.state,
        target=after.state,
        at=after.state_since,
        node_id=uuid4(),
        actor="token:ci",
        reason="asked",
        wake_kind=WakeKind.RESUMED if awake else None,
        took=timedelta(seconds=2.5) if awake else None,
    )
