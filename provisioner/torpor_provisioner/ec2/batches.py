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


class _Entry:
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
        self._open: dict[str, _Entry] = {}  # not yet answered
        self._waiting: dict[str, _Entry] = {}  # of those, in no request yet; first come, first
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
        entry = self._open.get(instance) or self._enter(instance)
        left = deadline.keep()
        entry.callers.append(left)
        try:
            await asyncio.shield(entry.done)
        finally:
            entry.callers.remove(left)
            if not entry.callers and not entry.done.done():
                entry.done.cancel()
                self._close(entry)
                self._call_off(entry.request)

    async def aclose(self) -> None:
        tasks = [*self._sending, *([self._pump] if self._pump else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(list(self._open.values()), NotReady("the provisioner was closed"))

    def _enter(self, instance: str) -> _Entry:
        entry = self._open[instance] = self._waiting[instance] = _Entry(instance)
        self._go_on()
        return entry

    def _call_off(self, request: asyncio.Task[None] | None) -> None:
        """A request that nobody waits for any more must not leave later."""
        if request is not None and not any(
            entry.request is request for entry in self._open.values()
        ):
            request.cancel()

    def _close(self, entry: _Entry) -> None:
        for kept in (self._open, self._waiting):
            if kept.get(entry.instance) is entry:
                del kept[entry.instance]

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
            for entry in batch:
                del self._waiting[entry.instance]
            if batch:
                task = asyncio.create_task(self._send(batch))
                for entry in batch:
                    entry.request = task
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    def _still_wanted(self, batch: Sequence[_Entry]) -> list[_Entry]:
        """Those whose callers wait and have the time; the others are told that they have none."""
        late = [entry for entry in batch if not entry.wanted]
        self._fail(late, NotReady(f"{self._action}: its time was up before its turn came"))
        return [entry for entry in batch if entry.wanted]

    async def _send(self, batch: Sequence[_Entry]) -> None:
        names = [entry.instance for entry in batch]
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
            for entry in batch:
                self._close(entry)
                entry.succeed()

    async def _refused(self, batch: Sequence[_Entry], failed: Fault) -> None:
        if failed.meaning is Throttled:
            self._again(batch, failed)
        elif len(batch) == 1 or failed.unsure or failed.action != self._action:
            self._fail(batch, failed)  # of another action: we did not even get into the account
        elif named := failed.instances.intersection(entry.instance for entry in batch):
            self._fail([entry for entry in batch if entry.instance in named], failed)
            await self._resend([entry for entry in batch if entry.instance not in named])
        else:
            half = len(batch) // 2
            await asyncio.gather(self._resend(batch[:half]), self._resend(batch[half:]))

    async def _resend(self, batch: Sequence[_Entry]) -> None:
        if not batch:
            return
        try:
            await self._api.throttle.request(self._action)
        except ProvisionerError as error:
            self._fail(batch, error)
        else:
            if wanted := self._still_wanted(batch):
                await self._send(wanted)

    def _again(self, batch: Sequence[_Entry], failed: Fault) -> None:
        """Back into the queue, before those who came later."""
        for entry in batch:
            entry.tries += 1
        self._fail([entry for entry in batch if entry.tries == THROTTLED_TRIES], failed)
        ahead = {entry.instance: entry for entry in batch if not entry.done.done()}
        self._waiting = ahead | self._waiting
        self._go_on()

    def _fail(self, batch: Sequence[_Entry], error: Exception) -> None:
        for entry in batch:
            self._close(entry)
            entry.fail(error)
