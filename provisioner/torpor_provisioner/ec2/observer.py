"""One look at many machines: everybody who wants to know shares the same DescribeInstances.

A look is made when somebody asks, and no sooner than `pace` after the last one; a caller that asks
meanwhile joins the next. So a node makes two requests a second at most for any number of
transitions, and none for machines that nobody asks about. What was seen answers for as long as it
may be believed: one pace for a machine that moves, four for one at rest. It answers for nothing
that was asked of a machine since: `changed` voids it.

The SDK's waiters are not used: they look every 15 s, and would do so for each machine by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torpor_provisioner.contract import MachineState
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.api import Api
from torpor_provisioner.ec2.faults import UNREADABLE, Fault, no_answer
from torpor_provisioner.ec2.machines import state_of
from torpor_provisioner.ec2.settings import PACE
from torpor_provisioner.errors import Gone, NotReady

RESTED = 4  # paces
FED = 10  # paces, where a feed tells of every change
FORGOTTEN = 300.0  # seconds
PAGE = 1000  # ids in a request
MOVING = frozenset({MachineState.PENDING, MachineState.STOPPING})
NOT_FOUND = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})

Instance = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance as DescribeInstances told it, None where it knew none; when we had asked."""

    instance: Instance | None
    asked_at: float

    @property
    def moving(self) -> bool:
        """Also one that is unknown: it may be about to appear."""
        return self.instance is None or state_of(self.instance) in MOVING


class Observer:
    """Of one account and Region."""

    def __init__(self, api: Api, pace: float = PACE) -> None:
        self._api = api
        self._pace = pace
        self._seen: dict[str, Seen] = {}
        self._changed: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[Instance | None]] = {}
        self._pump: asyncio.Task[None] | None = None
        self._last = float("-inf")
        self.fed = False  # whether a feed tells of changes

    def __repr__(self) -> str:
        return f"<Observer {self._api!r} knows={len(self._seen)} waiting={len(self._waiting)}>"

    async def look(self, instances: Collection[str]) -> dict[str, Instance | None]:
        """What is true of each.

        Raises:
            Fault: AWS refused, or no answer came several times.
            Throttled: the queue is too long.
        """
        answers = {name: self._known(name) or self._wanted(name) for name in instances}
        waits = [a for a in answers.values() if isinstance(a, asyncio.Future)]
        if waits:  # shared with others: who is cancelled here takes nobody along
            await asyncio.gather(*map(asyncio.shield, waits))
        return {
            name: answer.result() if isinstance(answer, asyncio.Future) else answer.instance
            for name, answer in answers.items()
        }

    async def one(self, instance: str) -> Instance:
        """One that must be there.

        Raises:
            Gone: it is not.
        """
        found = (await self.look([instance]))[instance]
        if found is None:
            raise Gone(f"EC2 knows no instance {instance}")
        return found

    def last(self, instance: str) -> Instance | None:
        """How it was last seen, be that minutes ago; None: this node has not looked."""
        seen = self._seen.get(instance)
        return None if seen is None else seen.instance

    def changed(self, instance: str) -> None:
        """Something was asked of it, or happened to it: what was seen before is void."""
        self._changed[instance] = time.monotonic()

    def learned(self, instance: Instance, asked_at: float) -> None:
        """It was seen by the way, in an answer to a request made then."""
        name = instance["InstanceId"]
        known = self._seen.get(name)
        if known is None or known.asked_at <= asked_at:
            self._seen[name] = Seen(instance, asked_at)

    async def aclose(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._fail(list(self._waiting), NotReady("the provisioner was closed"))

    def _known(self, name: str) -> Seen | None:
        seen = self._seen.get(name)
        if seen is None or seen.asked_at <= self._changed.get(name, float("-inf")):
            return None
        paces = FED if self.fed else 1 if seen.moving else RESTED
        return seen if time.monotonic() - seen.asked_at < paces * self._pace else None

    def _wanted(self, name: str) -> asyncio.Future[Instance | None]:
        if name not in self._waiting:
            self._waiting[name] = asyncio.get_running_loop().create_future()
            if self._pump is None:
                self._pump = asyncio.create_task(self._run())
        return self._waiting[name]

    async def _run(self) -> None:
        try:
            await self._look_at_all()
        finally:
            self._pump = None  # in the same step that saw nobody waiting

    async def _look_at_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(max(0.0, self._last + self._pace - time.monotonic()))
            self._last = time.monotonic()
            self._forget(self._last)
            names = list(self._waiting)
            pages = [names[i : i + PAGE] for i in range(0, len(names), PAGE)]
            await asyncio.gather(*map(self._page, pages))

    async def _page(self, names: Sequence[str]) -> None:
        asked_at = time.monotonic()
        try:
            found = await self._describe(list(names))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told it
            self._fail(names, error)
            return
        for name in names:
            self._seen[name] = Seen(found.get(name), asked_at)
            if self._changed.get(name, float("-inf")) < asked_at:  # else it is looked at again
                waiter = self._waiting.pop(name, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(found.get(name))

    async def _describe(self, names: list[str]) -> dict[str, Instance]:
        while names:
            try:
                answer = await self._api.call(Action.DESCRIBE_INSTANCES, InstanceIds=names)
            except Fault as failed:
                if failed.code not in NOT_FOUND:
                    raise
                # AWS names those that it does not know, and tells nothing of the others.
                left = [name for name in names if name not in failed.instances]
                names = left if len(left) < len(names) else []
                continue
            return _instances(answer)
        return {}

    def _fail(self, names: Sequence[str], error: Exception) -> None:
        for name in names:
            waiter = self._waiting.pop(name, None)
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
                waiter.exception()  # the one who waited may have been cancelled

    def _forget(self, now: float) -> None:
        """Drop what is too old to matter, so that memory follows the fleet and not its past."""
        for name in [n for n, seen in self._seen.items() if now - seen.asked_at > FORGOTTEN]:
            del self._seen[name]
        for name in [n for n, at in self._changed.items() if now - at > FORGOTTEN]:
            del self._changed[name]


def _instances(answer: Mapping[str, Any]) -> dict[str, Instance]:
    try:
        held = answer["Reservations"]
        return {one["InstanceId"]: one for some in held for one in some["Instances"]}
    except UNREADABLE as error:
        action = Action.DESCRIBE_INSTANCES
        raise no_answer(action, f"cannot be read: {error!r}") from error
