"""Starts, or stops, many machines with few requests.

AWS lets an account make 2 StartInstances requests a second, but name 1,000 instances in them at
once. So callers that wait for a request's turn wait together: one request takes everybody along who
has come meanwhile, and one that comes alone goes at once.

AWS takes or refuses a request as a whole. The machines that it names in a refusal are told so and
the others are asked for again; where it names none, halves are tried until those are found that
it cannot do.

A caller for a machine that is already queued or on its way shares the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

from torpor_provisioner import deadline
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.api import THROTTLED_TRIES, Api
from torpor_provisioner.ec2.faults import Fault
from torpor_provisioner.errors import NotReady, ProvisionerError, Throttled

SIZE = 100  # instances in a request: AWS advises batches, and a refusal is shared by fewer


class _Asked:
    """One machine's turn; several callers may wait for it."""

    __slots__ = ("callers", "done", "instance", "request", "tries")

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.callers: list[Callable[[], float]] = []  # how long each may still have its effect
        self.tries = 0
        self.request: asyncio.Task[None] | None = None  # that names it
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def wanted(self) -> bool:
        return not self.done.done() and any(left() > 0 for left in self.callers)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def succeed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Batches:
    """Of one action with one set of further arguments, in one account and Region."""

    def __init__(
        self, api: Api, action: Action, arguments: Mapping[str, Any] | None = None
    ) -> None:
        self._api = api
        self._action = action
        self._arguments = dict(arguments or {})
        self._open: dict[str, _Asked] = {}  # not yet answered
        self._waiting: dict[str, _Asked] = {}  # of those, in no request yet; first come, first
        self._pump: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Batches {self._action} waiting={len(self._waiting)} sent={len(self._sending)}>"

    async def ask(self, instance: str) -> None:
        """Ask for one machine; returns when AWS has accepted it.

        Raises:
            Fault: AWS refused this machine, or no answer came.
            Throttled: the queue is too long.
        """
        asked = self._open.get(instance) or self._enter(instance)
        left = deadline.keep()
        asked.callers.append(left)
        try:
            await asyncio.shield(asked.done)
        finally:
            asked.callers.remove(left)
            if not asked.callers and not asked.done.done():
                asked.done.cancel()
                self._close(asked)
                self._call_off(asked.request)

    async def aclose(self) -> None:
        tasks = [*self._sending, *([self._pump] if self._pump else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(list(self._open.values()), NotReady("the provisioner was closed"))

    def _enter(self, instance: str) -> _Asked:
        asked = self._open[instance] = self._waiting[instance] = _Asked(instance)
        self._go_on()
        return asked

    def _call_off(self, request: asyncio.Task[None] | None) -> None:
        """A request that nobody waits for any more must not leave later."""
        if request is not None and not any(
            asked.request is request for asked in self._open.values()
        ):
            request.cancel()

    def _close(self, asked: _Asked) -> None:
        for kept in (self._open, self._waiting):
            if kept.get(asked.instance) is asked:
                del kept[asked.instance]

    def _go_on(self) -> None:
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), context=Context())  # for all who ask

    async def _run(self) -> None:
        try:
            await self._send_all()
        except ProvisionerError as error:
            self._fail(list(self._waiting.values()), error)
        finally:
            self._pump = None  # in the same step that saw nobody waiting

    async def _send_all(self) -> None:
        while self._waiting:
            await self._api.throttle.request(self._action)
            batch = list(self._waiting.values())[:SIZE]
            if not batch:  # they gave up while we waited
                return
            granted = await self._api.throttle.resources(self._action, len(batch))
            batch = self._still_wanted(batch[:granted])
            self._api.throttle.unused(self._action, granted - len(batch))
            for asked in batch:
                del self._waiting[asked.instance]
            if batch:
                task = asyncio.create_task(self._send(batch))
                for asked in batch:
                    asked.request = task
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    def _still_wanted(self, batch: Sequence[_Asked]) -> list[_Asked]:
        """Those whose callers wait and have the time; the others are told that they have none."""
        late = [asked for asked in batch if not asked.wanted]
        self._fail(late, NotReady(f"{self._action}: its time was up before its turn came"))
        return [asked for asked in batch if asked.wanted]

    async def _send(self, batch: Sequence[_Asked]) -> None:
        names = [asked.instance for asked in batch]
        try:
            await self._api.send(
                self._action, resources=len(names), InstanceIds=names, **self._arguments
            )
        except Fault as failed:
            await self._refused(batch, failed)
        except ProvisionerError as error:
            self._fail(batch, error)
        except asyncio.CancelledError:
            self._fail(batch, NotReady("nobody waits for it any more"))
            raise
        else:
            for asked in batch:
                self._close(asked)
                asked.succeed()

    async def _refused(self, batch: Sequence[_Asked], failed: Fault) -> None:
        if failed.meaning is Throttled:
            self._again(batch, failed)
        elif len(batch) == 1 or failed.unsure or failed.action != self._action:
            self._fail(batch, failed)  # of another action: we did not even get into the account
        elif named := failed.instances.intersection(asked.instance for asked in batch):
            self._fail([asked for asked in batch if asked.instance in named], failed)
            await self._resend([asked for asked in batch if asked.instance not in named])
        else:
            half = len(batch) // 2
            await asyncio.gather(self._resend(batch[:half]), self._resend(batch[half:]))

    async def _resend(self, batch: Sequence[_Asked]) -> None:
        if not batch:
            return
        try:
            await self._api.throttle.request(self._action)
        except ProvisionerError as error:
            self._fail(batch, error)
        else:
            if wanted := self._still_wanted(batch):
                await self._send(wanted)

    def _again(self, batch: Sequence[_Asked], failed: Fault) -> None:
        """Back into the queue, before those who came later."""
        for asked in batch:
            asked.tries += 1
        self._fail([asked for asked in batch if asked.tries == THROTTLED_TRIES], failed)
        ahead = {asked.instance: asked for asked in batch if not asked.done.done()}
        self._waiting = ahead | self._waiting
        self._go_on()

    def _fail(self, batch: Sequence[_Asked], error: Exception) -> None:
        for asked in batch:
            self._close(asked)
            asked.fail(error)
