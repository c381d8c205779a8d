"""This node's leases in memory: what makes a stream to a running satellite cost no query.

The book says which satellites this node holds a lease on and how many streams are open under
each. A lease is good only while the node may trust its heartbeat (`trusted`). The last stream
does not give the lease up at once: the next one mostly comes within a moment.

Streams are counted for each satellite whatever became of the lease they were admitted under, so
that one which outlives its lease is never mistaken for one of the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from torpor_provisioner.contract import Address
from torpor_statemachine import clock
from torpor_statemachine.gate import Admitted


@dataclass(slots=True, eq=False)
class _Entry:
    admitted: Admitted | None = None  # None: no lease
    taken_at: float = 0.0
    streams: int = 0
    proved: bool = True  # that its machine is where the lease says
    epoch: int = 0  # of the newest lease; what is open was admitted under it, or before
    lingering: asyncio.TimerHandle | None = None


class LeaseBook:
    """`give_up(satellite_id)` is called when a lease has lingered for `linger` seconds."""

    def __init__(
        self, trusted: Callable[[], bool], give_up: Callable[[UUID], None], linger: float
    ) -> None:
        self._trusted = trusted
        self._give_up = give_up
        self._linger = linger
        self._entries: dict[UUID, _Entry] = {}

    def __repr__(self) -> str:
        streams = sum(entry.streams for entry in self._entries.values())
        return f"<LeaseBook {len(self.held())} leases, {streams} streams>"

    @property
    def streams(self) -> int:
        return sum(entry.streams for entry in self._entries.values())

    def enter(self, satellite_id: UUID) -> Admitted | None:
        """Count a stream in, if there is a lease to be trusted."""
        entry = self._entries.get(satellite_id)
        if entry is None or entry.admitted is None or not entry.proved or not self._trusted():
            return None
        entry.streams += 1
        if entry.lingering is not None:
            entry.lingering.cancel()
            entry.lingering = None
        return entry.admitted

    def glance(self, satellite_id: UUID) -> Admitted | None:
        """As `enter`, and count nobody in."""
        entry = self._entries.get(satellite_id)
        good = entry is not None and entry.proved and self._trusted()
        return entry.admitted if entry is not None and good else None

    def leave(self, satellite_id: UUID) -> None:
        """Count a stream out."""
        entry = self._entries[satellite_id]
        entry.streams -= 1
        assert entry.streams >= 0, f"more streams left {satellite_id} than came"
        if entry.streams == 0:
            self._empty(satellite_id, entry)

    def take(
        self, satellite_id: UUID, address: Address, epoch: int, *, proved: bool = True
    ) -> None:
        """Write down a lease that the database has given; nobody is admitted until it is `proved`
        that the machine is there."""
        entry = self._entries.setdefault(satellite_id, _Entry())
        entry.proved = proved
        entry.admitted = Admitted(address, epoch)
        entry.epoch = max(entry.epoch, epoch)
        entry.taken_at = clock.now()
        if entry.streams == 0:
            self._empty(satellite_id, entry)

    def lose(self, satellite_id: UUID) -> None:
        """The database does not know the lease: admit nobody on it."""
        entry = self._entries.get(satellite_id)
        if entry is not None and entry.admitted is not None:
            self._forget_lease(satellite_id, entry)

    def end(self, satellite_id: UUID, epoch: int) -> None:
        """The satellite has left running under `epoch`: admit nobody on a lease of before."""
        entry = self._entries.get(satellite_id)
        if entry is not None and entry.epoch < epoch:
            entry.epoch = epoch
            self.lose(satellite_id)

    def went_back(self, satellite_id: UUID, epoch: int) -> None:
        """The database knows of no epoch after this one: a failover has lost those there were."""
        entry = self._entries.get(satellite_id)
        if entry is not None:
            entry.epoch = min(entry.epoch, epoch)

    def newest(self, satellite_id: UUID) -> int | None:
        """The newest epoch that is known of it here; None without a lease or a stream."""
        entry = self._entries.get(satellite_id)
        return entry.epoch if entry is not None else None

    def epoch(self, satellite_id: UUID) -> int | None:
        """The epoch that the lease was taken under; None without a lease."""
        entry = self._entries.get(satellite_id)
        return entry.admitted.epoch if entry is not None and entry.admitted is not None else None

    def taken_at(self, satellite_id: UUID) -> float | None:
        """When its lease was written down; None without one."""
        entry = self._entries.get(satellite_id)
        return entry.taken_at if entry is not None and entry.admitted is not None else None

    def streams_on(self, satellite_id: UUID) -> int:
        entry = self._entries.get(satellite_id)
        return entry.streams if entry is not None else 0

    def held(self) -> set[UUID]:
        return {key for key, entry in self._entries.items() if entry.admitted is not None}

    def missing_from(self, kept: Iterable[UUID], asked_at: float) -> set[UUID]:
        """Leases written down here before `asked_at` that the database did not know then."""
        return {key for key in self.held() - set(kept) if self._entries[key].taken_at < asked_at}

    def unpin(self) -> set[UUID]:
        """The term has ended: no lease counts. Those that streams are open to."""
        for satellite_id in self.held():
            self._forget_lease(satellite_id, self._entries[satellite_id])
        return set(self._entries)

    def _empty(self, satellite_id: UUID, entry: _Entry) -> None:
        if entry.admitted is None:
            del self._entries[satellite_id]
        elif entry.lingering is None:
            loop = asyncio.get_running_loop()
            entry.lingering = loop.call_later(self._linger, self._lingered, satellite_id, entry)

    def _lingered(self, satellite_id: UUID, entry: _Entry) -> None:
        entry.lingering = None
        self._forget_lease(satellite_id, entry)
        self._give_up(satellite_id)

    def _forget_lease(self, satellite_id: UUID, entry: _Entry) -> None:
        entry.admitted = None
        if entry.lingering is not None:
            entry.lingering.cancel()
            entry.lingering = None
        if entry.streams == 0:
            del self._entries[satellite_id]

    def clear(self) -> None:
        """Let go of every timer."""
        for satellite_id in self.held():
            self._forget_lease(satellite_id, self._entries[satellite_id])
