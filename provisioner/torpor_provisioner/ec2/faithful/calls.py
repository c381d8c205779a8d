"""The log: every request, what it was answered, and on which machines it had an effect."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """`at` is our monotonic clock in seconds; `code` is empty for a request that was granted."""

    number: int
    at: float
    account: str
    region: str
    action: str
    instances: tuple[str, ...]
    code: str
    effective: tuple[str, ...]
    lost: bool  # the caller got no answer


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
    ) -> None:
        entry = Call(
            len(self.entries) + 1,
            time.monotonic(),
            *key,
            tuple(instances),
            code,
            tuple(effective),
            lost,
        )
        self.entries.append(entry)

    def of(self, action: str, instance: str = "") -> list[Call]:
        """Those of one action, or those only that name one instance."""
        return [
            call
            for call in self.entries
            if call.action == action and (not instance or instance in call.instances)
        ]
