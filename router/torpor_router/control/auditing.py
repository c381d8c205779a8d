"""Writes down what calls changed, with what it was before and is after."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from torpor_provisioner.errors import Status, TorporError
from torpor_router.access.audit import Act, State
from torpor_router.control.ports import Audit

logger = logging.getLogger(__name__)

Snapshot = Callable[[], Awaitable[State | None]]
_Reply = TypeVar("_Reply")


class Auditing:
    """`act` is what is written, but for the states; `snapshot` reads the present one."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def one(
        self, act: Act, snapshot: Snapshot, work: Callable[[], Awaitable[_Reply]]
    ) -> _Reply:
        """What `work` returns; written down if it succeeds."""
        before = await snapshot()
        reply = await work()
        await self._write(act, before, await snapshot())
        return reply

    async def every(
        self, act: Act, snapshot: Snapshot, work: AsyncGenerator[_Reply, None]
    ) -> AsyncGenerator[_Reply, None]:
        """What `work` yields; written down with the first, which says that it was accepted."""
        before, written = await snapshot(), False
        async with aclosing(work):
            async for reply in work:
                if not written:
                    await self._write(act, before, await snapshot())
                    written = True
                yield reply

    def refused(self, act: Act, error: TorporError) -> None:
        """Write down a refusal, if it was for lack of rights."""
        if error.status is Status.PERMISSION_DENIED:
            self._audit.refused(replace(act, result=error.code))

    async def _write(self, act: Act, before: State | None, after: State | None) -> None:
        try:
            await self._audit.write(replace(act, before=before, after=after))
        except TorporError as error:  # the change is made: its caller must be told that
            logger.warning("not in the audit log: %s of %s by %s: %s", *_named(act), error)


def _named(act: Act) -> tuple[str, str, str]:
    return act.action, f"{act.org}/{act.target}", act.actor
