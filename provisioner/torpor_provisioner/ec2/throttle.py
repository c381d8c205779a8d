"""Waits for the token buckets of one account and Region, so that AWS need not refuse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from torpor_provisioner.ec2.actions import REQUESTS, RESOURCES, Action, Limit
from torpor_provisioner.ec2.buckets import Bucket
from torpor_provisioner.errors import NotReady, Throttled

OFTEN = 3  # refusals in a row of a single resource
PATIENCE = 15.0  # seconds; a caller that would wait longer is told so at once, within its call
STOOD_STILL = 1.0  # seconds by which a wait may be overdue


class Throttle:
    def __init__(
        self,
        requests: Mapping[Action, Limit] | None = None,
        resources: Mapping[Action, Limit] | None = None,
        *,
        patience: float = PATIENCE,
    ) -> None:
        now = time.monotonic()
        per_request, touched = {**REQUESTS, **(requests or {})}, {**RESOURCES, **(resources or {})}
        self._requests = {action: Bucket(limit, now) for action, limit in per_request.items()}
        self._resources = {action: Bucket(limit, now) for action, limit in touched.items()}
        self._patience = patience
        self._refusals: dict[Action, int] = {}  # in a row
        self._doubted: set[Action] = set()  # of whose resources there are fewer than we counted

    def __repr__(self) -> str:
        low = {a.value: b for a, b in self._requests.items() if b.available(time.monotonic()) < 1}
        return f"<Throttle waiting for {low}>"

    async def request(self, action: Action) -> None:
        """Wait for leave to make one request.

        Raises:
            Throttled: it would take longer than this throttle's patience.
            NotReady: this process stood still meanwhile.
        """
        await self._take(action, self._requests[action], 1)

    async def resources(self, action: Action, wanted: int) -> int:
        """Wait until at least one resource may be named in a request; returns how many may."""
        bucket = self._resources.get(action)
        if bucket is None:
            return wanted
        granted = max(1, min(wanted, int(bucket.available(time.monotonic()))))
        await self._take(action, bucket, granted)
        return granted

    def unused(self, action: Action, resources: int) -> None:
        """Resources that were granted and then not named."""
        if action in self._resources:
            self._resources[action].give_back(resources)

    def refused(self, action: Action, resources: int) -> None:
        """AWS answered RequestLimitExceeded to a request that named so many resources.

        It does not say which bucket. That of requests is the smaller by far, so it is taken as
        empty, and to fill up more slowly where a single resource was named. Only what is refused
        again and again has met an empty bucket of resources: it has half of those at most.
        """
        now = time.monotonic()
        row = self._refusals[action] = self._refusals.get(action, 0) + 1
        touched = self._resources.get(action)
        if touched is None or resources == 1:
            self._requests[action].refused(now)
        else:
            self._requests[action].drained(now)
        if touched is not None:
            touched.give_back(resources)
            if resources == 1 and row >= OFTEN:
                touched.refused(now)
            elif resources > 1 and row > 1:
                touched.drained(now, resources // 2)
                self._doubted.add(action)

    def passed(self, action: Action, resources: int) -> None:
        """What has passed may pass again, where we do not know how much is left."""
        self._refusals.pop(action, None)
        now = time.monotonic()
        self._requests[action].passed(now)
        touched = self._resources.get(action)
        if touched is not None:
            touched.passed(now)
            if action in self._doubted and resources > 1:
                touched.give_back(resources)
            if touched.available(now) >= touched.limit.capacity:
                self._doubted.discard(action)

    async def _take(self, action: Action, bucket: Bucket, tokens: int) -> None:
        """Wait for so many tokens.

        A process that was stopped meanwhile may have lost its claim on the machine that it waits
        for, and asks its caller anew rather than doing at once what it wanted to do long ago.
        """
        now = time.monotonic()
        wait = bucket.wait(tokens, now)
        if wait > self._patience:
            raise Throttled(f"{action} has a queue of {wait:.0f} s in this account")
        bucket.reserve(tokens, now)
        if wait <= 0:
            return
        try:
            await asyncio.sleep(wait)
        except asyncio.CancelledError:
            bucket.give_back(tokens)
            raise
        overdue = time.monotonic() - now - wait
        if overdue > STOOD_STILL:
            bucket.give_back(tokens)
            raise NotReady(f"{action} waited while this node stood still for {overdue:.0f} s")
