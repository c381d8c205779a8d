"""EC2 in one account and Region: throttled, its answers read, its refusals classified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from botocore import xform_name

from torpor_provisioner import deadline
from torpor_provisioner.ec2.actions import Action
from torpor_provisioner.ec2.faults import FAILURES, Fault, fault
from torpor_provisioner.ec2.throttle import Throttle
from torpor_provisioner.errors import Throttled

if TYPE_CHECKING:
    from types_aiobotocore_ec2 import EC2Client

PAGE = 1000  # DescribeInstances' own maximum
TRIES = 4  # of a call whose answer was lost
PAUSE = 0.2  # seconds before the second try; doubled for each one after
THROTTLED_TRIES = 8


class Api:
    """The SDK's own retries are off: every call here is one request, and is counted as one."""

    def __init__(self, account: str, region: str, client: EC2Client, throttle: Throttle) -> None:
        self.account = account
        self.region = region
        self.throttle = throttle
        self._client = client

    def __repr__(self) -> str:
        return f"<Api {self.account}/{self.region}>"

    async def send(self, action: Action, *, resources: int = 1, **arguments: Any) -> dict[str, Any]:
        """One request, whose tokens are already held.

        Raises:
            Fault: AWS refused, or no answer came.
            NotReady: it would change something, and the time of the call it is for is up.
        """
        if not action.reads:
            deadline.check(action)
        try:
            method: Callable[..., Awaitable[Any]] = getattr(self._client, xform_name(action))
            answer: dict[str, Any] = await method(**arguments)
        except FAILURES as error:
            failed = fault(action, error)
            if failed.meaning is Throttled:
                self.throttle.refused(action, resources)
            raise failed from error
        self.throttle.passed(action, resources)
        return answer

    async def call(self, action: Action, **arguments: Any) -> dict[str, Any]:
        """A request that may be repeated as it is: it reads, or AWS knows it again.

        Raises:
            Fault: AWS refused, or no answer came several times.
            Throttled: this node's own queue is too long.
        """
        lost = throttled = 0
        while True:
            await self.throttle.request(action)
            await self.throttle.resources(action, 1)
            try:
                return await self.send(action, **arguments)
            except Fault as failed:
                lost += failed.unsure
                throttled += failed.meaning is Throttled
                again = failed.unsure or failed.meaning is Throttled
                if not again or lost == TRIES or throttled == THROTTLED_TRIES:
                    raise
                if failed.unsure:
                    await asyncio.sleep(PAUSE * 2**lost)

    async def pages(self, action: Action, key: str, **arguments: Any) -> AsyncIterator[Any]:
        """Every item below `key`, page by page."""
        token = ""
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self.call(action, MaxResults=PAGE, **arguments, **more)
            for item in answer.get(key, ()):
                yield item
            token = answer.get("NextToken") or ""
            if not token:
                return

    async def instances(self, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Every instance that passes the filters."""
        pages = self.pages(Action.DESCRIBE_INSTANCES, "Reservations", Filters=filters)
        return [instance async for held in pages for instance in held["Instances"]]
