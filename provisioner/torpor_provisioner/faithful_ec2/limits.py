"""AWS's side of throttling: buckets that are filled up once a second, shared by all clients."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torpor_provisioner.ec2.actions import REQUESTS, RESOURCES, Action, Limit


class Limits:
    """Buckets by account, Region and action. An action without a published limit has none."""

    def __init__(self) -> None:
        self.on = True
        self._requests: dict[tuple[str, str, str], _Bucket] = {}
        self._resources: dict[tuple[str, str, str], _Bucket] = {}

    def __repr__(self) -> str:
        return f"<Limits {'on' if self.on else 'off'} {len(self._requests)} buckets>"

    def pass_(self, key: tuple[str, str, str], resources: int, now: float) -> bool:
        """Whether a request may pass; tokens are taken only if all of them are there."""
        if not self.on:
            return True
        request_bucket = _bucket(self._requests, REQUESTS, key, now)
        resource_bucket = _bucket(self._resources, RESOURCES, key, now)
        wanted = [(request_bucket, 1), (resource_bucket, resources)]
        pairs = [(bucket, tokens) for bucket, tokens in wanted if bucket is not None]
        if any(bucket.tokens(now) < tokens for bucket, tokens in pairs):
            return False
        for bucket, tokens in pairs:
            bucket.take(tokens)
        return True

    def spend(self, key: tuple[str, str, str], resources: int, now: float) -> None:
        """As if somebody else had used so many resources just now."""
        bucket = _bucket(self._resources, RESOURCES, key, now)
        if bucket is not None:
            bucket.tokens(now)
            bucket.take(resources)

    def clear(self) -> None:
        self._requests.clear()
        self._resources.clear()


class _Bucket:
    def __init__(self, limit: Limit, now: float) -> None:
        self._limit = limit
        self._tokens = limit.capacity
        self._filled = math.floor(now)

    def tokens(self, now: float) -> float:
        seconds = math.floor(now) - self._filled
        self._filled += seconds
        self._tokens = min(self._limit.capacity, self._tokens + seconds * self._limit.rate)
        return self._tokens

    def take(self, tokens: int) -> None:
        self._tokens -= tokens


def _bucket(
    kept: dict[tuple[str, str, str], _Bucket],
    limits: Mapping[Action, Limit],
    key: tuple[str, str, str],
    now: float,
) -> _Bucket | None:
    action = key[2]
    if action not in limits:
        return None
    if key not in kept:
        kept[key] = _Bucket(limits[Action(action)], now)
    return kept[key]
