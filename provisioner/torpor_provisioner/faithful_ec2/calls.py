"""The log: every request, who made it, what it was answered, and where it had an effect."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """`at` is our monotonic clock in seconds; `code` is empty for a request that was granted.

    `caller` is the application id that the caller's SDK sends (AWS_SDK_UA_APP_ID), `shown` the
    phase of each machine that DescribeInstances was asked for by id.
    """

    number: int
    at: float
    account: str
    region: str
    action: str
    instances: tuple[str, ...]
    code: str
    effective: tuple[str, ...]
    lost: bool  # the caller got no answer
    caller: str
    shown: Mapping[str, str]


@dataclass(slots=True)
class Calls:
    entries: list[Call] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Calls {len(self.entries)}>"

    def add(
        self,
        key: tuple[str, str, str],
        instances: list[str],
        *,
        code: str,
        effective: list[str],
        lost: bool,
        caller: str = "",
        shown: Mapping[str, str] | None = None,
    ) -> None:
        entry = Call(
            len(self.entries) + 1,
            time.monotonic(),
            *key,
            tuple(instances),
            code,
            tuple(effective),
            lost,
            caller,
            shown or {},
        )
        self.entries.append(entry)

    def of(self, action: str, instance: str = "") -> list[Call]:
        """Those of one action, or those only that name one instance."""
        return [
            call
            for call in self.entries
            if call.action == action and (not instance or instance in call.instances)
        ]
