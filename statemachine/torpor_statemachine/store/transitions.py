"""Every change of a satellite's state, by name. None: it was not as the caller saw it any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from math import inf
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import Address, SleepKind
from torpor_provisioner.errors import TorporError
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.errors import LimitReached, record, storable
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite, Wanted
from torpor_statemachine.lifecycle.states import WakeKind
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.store import rows
from torpor_statemachine.store.changes import Attribution, Changed, change

_COMMITTED = """
update satellites set sleep_called = true
where id = $1 and epoch = $2 and state = 'sleeping' and not wake_requested
returning true
"""
_REQUESTED = """
update satellites set wake_requested = true
where id = $1 and epoch = $2 and state = 'sleeping'
returning true
"""
_WANT = """
update satellites set wanted = $3
where id = $1 and epoch = $2 and state in ('running', 'sleeping', 'asleep', 'waking')
returning true
"""
_LAUNCHED_REF = "update satellites set ref = $3 where id = $1 and epoch = $2 returning true"
_OBSTRUCTED = """
update satellites set obstacle = $3
where id = $1 and epoch = $2 and claimed_by is not null
returning true
"""
_LIMIT = """
select limit_reached(org_id, id) from satellites
where id = $1 and epoch = $2 and state = 'asleep' and claimed_by is null
"""
_LIMITED = """
update satellites set failure = $3, wake_requested = false, retry_at = now() + $4
where id = $1 and epoch = $2 and state = 'asleep' and claimed_by is null
"""
_PROVED = """
update satellites set timeline = server_timeline()
where id = $1 and epoch = $2 and state = 'running' and claimed_by is null
"""
_LET_GO = """
update satellites set claim_deadline = now() + $3
where id = $1 and epoch = $2 and claimed_by is not null
"""
_KEPT = """
update satellites set claim_deadline = now() + kept.longer
from unnest($1::uuid[], $2::bigint[], $3::interval[]) as kept (id, epoch, longer)
where satellites.id = kept.id and satellites.epoch = kept.epoch
    and claimed_by = $4 and claim_deadline < now() + kept.longer
"""


LIMITED_FOR = timedelta(seconds=10)  # until a wake that no request waits for is tried again


def anytime() -> float:
    """Whatever the database's clock shows counts."""
    return inf


class Transitions:
    """The writes of one node."""

    def __init__(
        self,
        database: Database,
        config: FleetConfig,
        node_id: UUID,
        latest: Callable[[], float] = anytime,
    ) -> None:
        """`latest` tells what the database's clock may show where others are judged by it."""
        self._database = database
        self._config = config
        self._node_id = node_id
        self.latest = latest
        self._asking: Counter[UUID] = Counter()

    def asks_about(self, satellite_id: UUID) -> bool:
        """Whether a claim of this node's is on its way, or its answer."""
        return self._asking[satellite_id] > 0

    @contextmanager
    def asking(self, satellite_id: UUID) -> Iterator[None]:
        self._asking[satellite_id] += 1
        try:
            yield
        finally:
            self._asking[satellite_id] -= 1
            if not self._asking[satellite_id]:
                del self._asking[satellite_id]

    def by(self, actor: str, reason: str) -> Attribution:
        return Attribution(self._node_id, actor, reason)

    # --- Claims: the first step of a transition

    async def wake(
        self, satellite: Satellite, by: Attribution, *, stops_next: bool = False
    ) -> Changed | None:
        """`stops_next`: and when it sleeps again, let it stop."""
        with self.asking(satellite.id):
            return await change(
                self._database,
                satellite,
                Event.WAKE,
                by,
                shortest=_seconds(self._config.shortest_wake),
                longest=_seconds(self._config.longest_wake),
                factor=self._config.wake_factor,
                stops_next=stops_next,
            )

    async def limit(self, satellite: Satellite) -> LimitReached | None:
        """What keeps it from being woken, if that is a limit of its org."""
        why = await self._database.fetchval(_LIMIT, satellite.id, satellite.epoch)
        return LimitReached(f"{satellite.full_name}: {why}") if why is not None else None

    async def limited(self, satellite: Satellite, limit: LimitReached) -> None:
        """Keep why it was not woken, and when that is to be tried again."""
        await self._database.execute(
            _LIMITED, satellite.id, satellite.epoch, record(limit), LIMITED_FOR
        )

    async def sleep(
        self, satellite: Satellite, by: Attribution, *, force: bool = False
    ) -> Changed | None:
        """Unless there is a lease, or by `force`."""
        return await self._claim(
            satellite, Event.SLEEP, by, self._config.sleep, force=force, latest=self.latest()
        )

    async def terminate(
        self, satellite: Satellite, by: Attribution, *, force: bool = False
    ) -> Changed | None:
        return await self._claim(
            *(satellite, Event.TERMINATE, by, self._config.terminate),
            force=force,
            latest=self.latest(),
        )

    async def give_up(self, satellite: Satellite, by: Attribution) -> Changed | None:
        """End a launch under another's claim, which is over with this. A machine that its node
        makes all the same is an orphan, and ended as one."""
        return await self._claim(satellite, Event.GIVE_UP, by, self._config.terminate)

    async def begin(
        self, event: Event, satellite: Satellite, by: Attribution, *, force: bool
    ) -> Changed | None:
        """Begin what `lifecycle.choices` has chosen."""
        match event:
            case Event.SLEEP:
                return await self.sleep(satellite, by, force=force)
            case Event.TERMINATE:
                return await self.terminate(satellite, by, force=force)
            case Event.GIVE_UP:
                return await self.give_up(satellite, by)
            case _:
                raise ValueError(event)

    async def update(self, satellite: Satellite, wanted: Wanted, by: Attribution) -> Changed | None:
        return await self._claim(
            satellite, Event.UPDATE, by, self._config.update, wanted=_as_json(wanted)
        )

    async def correct(
        self, satellite: Satellite, wanted: Wanted, by: Attribution
    ) -> Changed | None:
        """What a failed satellite's next machine is to be."""
        settings = rows.as_json(wanted.settings)
        return await change(
            self._database, satellite, Event.CORRECTED, by, size=wanted.size, settings=settings
        )

    async def repair(self, satellite: Satellite, by: Attribution) -> Changed | None:
        return await self._claim(satellite, Event.REPAIR, by, self._config.launch)

    async def take_over(
        self, satellite: Satellite, by: Attribution, budget: float
    ) -> Changed | None:
        """Of a claim that is late, or of a dead node, or this node's own."""
        return await self._claim(
            *(satellite, Event.TOOK_OVER, by, budget),
            claimant=satellite.claimed_by,
            latest=self.latest(),
        )

    async def _claim(
        self, satellite: Satellite, event: Event, by: Attribution, budget: float, **values: Any
    ) -> Changed | None:
        with self.asking(satellite.id):
            return await change(
                self._database, satellite, event, by, budget=_seconds(budget), **values
            )

    # --- Steps inside a claim

    async def proved(self, satellite: Satellite) -> None:
        """Its machine runs where the row says: a failover has lost nothing of it."""
        await self._database.execute(_PROVED, satellite.id, satellite.epoch)

    async def server_settled(self) -> bool:
        """Whether each node that lives has beaten at the server that answers now."""
        settled: bool = await self._database.fetchval("select server_settled()")
        return settled

    async def commit_to_sleep(self, satellite: Satellite) -> bool:
        """From here it cannot be abandoned; False if a wake came first, or the claim is lost."""
        return await self._database.fetchval(_COMMITTED, satellite.id, satellite.epoch) is not None

    async def want(self, satellite: Satellite, wanted: Wanted) -> bool:
        """Have its machine changed by the node that stops it next."""
        taken = await self._database.fetchval(
            _WANT, satellite.id, satellite.epoch, _as_json(wanted)
        )
        return taken is not None

    async def request_wake(self, satellite: Satellite) -> bool:
        """Leave word with who puts it to sleep: it is wanted again."""
        return await self._database.fetchval(_REQUESTED, satellite.id, satellite.epoch) is not None

    async def launched_as(self, satellite: Satellite, ref: str) -> bool:
        """Keep the machine's name; False if the claim is lost."""
        taken = await self._database.fetchval(_LAUNCHED_REF, satellite.id, satellite.epoch, ref)
        return taken is not None

    async def obstructed(self, satellite: Satellite, by: TorporError | None) -> bool:
        """Write down what is in the way, or (None) that nothing is any more. The next
        change of the satellite takes it back. False if the claim is lost."""
        what = record(by) if by is not None else None
        taken = await self._database.fetchval(_OBSTRUCTED, satellite.id, satellite.epoch, what)
        return taken is not None

    async def let_go(self, satellite: Satellite, after: float) -> None:
        """Let any node go on with what this one cannot, in `after` seconds."""
        await self._database.execute(_LET_GO, satellite.id, satellite.epoch, _seconds(after))

    async def keep_deadlines(self, left: Mapping[tuple[UUID, int], float]) -> None:
        """Have the claims by satellite and epoch last for so many seconds more at the least, where
        the database's clock would end them sooner."""
        ids, epochs = [key[0] for key in left], [key[1] for key in left]
        kept = [_seconds(seconds) for seconds in left.values()]
        await self._database.execute(_KEPT, ids, epochs, kept, self._node_id)

    # --- Completions: the last step of a transition

    async def arrived(
        self,
        satellite: Satellite,
        by: Attribution,
        event: Event,
        address: Address,
        kind: WakeKind,
        *,
        boot_id: str | None = None,
        learned: bool = True,
        detail: str = "",
    ) -> Changed | None:
        """`woke` or `launched`. `learned`: its budget is made from how long that took."""
        return await change(
            self._database,
            satellite,
            event,
            by,
            detail=detail,
            wake_kind=kind,
            host=address.host,
            port=address.port,
            boot_id=storable(boot_id) if boot_id is not None else None,
            learned=learned,
            after_wake=_seconds(self._config.after_wake),
        )

    async def slept(
        self, satellite: Satellite, by: Attribution, how: SleepKind, detail: str
    ) -> Changed | None:
        return await change(
            self._database, satellite, Event.SLEPT, by, detail=detail, sleep_kind=how.value
        )

    async def sleep_abandoned(self, satellite: Satellite, by: Attribution) -> Changed | None:
        return await change(
            self._database,
            satellite,
            Event.SLEEP_ABANDONED,
            by,
            after_wake=_seconds(self._config.after_wake),
        )

    async def sleep_failed(
        self, satellite: Satellite, by: Attribution, error: TorporError
    ) -> Changed | None:
        return await change(
            self._database,
            satellite,
            Event.SLEEP_FAILED,
            by,
            detail=str(error),
            failure=record(error),
            # not at once again: that would be a storm of calls which cannot succeed
            after_wake=_seconds(self._config.longest_back_off),
        )

    async def wake_refused(
        self, satellite: Satellite, by: Attribution, error: TorporError
    ) -> Changed | None:
        return await change(
            self._database,
            satellite,
            Event.WAKE_REFUSED,
            by,
            detail=str(error),
            failure=record(error),
            **self._back_off(),
        )

    async def wake_failed(
        self, satellite: Satellite, by: Attribution, error: TorporError
    ) -> Changed | None:
        """The claim goes on, to stop the machine."""
        return await change(
            self._database,
            satellite,
            Event.WAKE_FAILED,
            by,
            detail=str(error),
            failure=record(error),
            budget=_seconds(self._config.sleep),
            **self._back_off(),
        )

    async def failed(
        self, satellite: Satellite, by: Attribution, event: Event, error: TorporError
    ) -> Changed | None:
        """`launch_failed`, `update_failed` or `terminate_failed`."""
        return await change(
            self._database, satellite, event, by, detail=str(error), failure=record(error)
        )

    async def done(self, satellite: Satellite, by: Attribution, event: Event) -> Changed | None:
        """`updated` or `ended`."""
        return await change(self._database, satellite, event, by)

    async def lost(
        self, satellite: Satellite, by: Attribution, error: TorporError
    ) -> Changed | None:
        return await change(
            self._database,
            satellite,
            Event.LOST,
            by,
            detail=str(error),
            failure=record(error),
            claimed_by=satellite.claimed_by,
        )

    # --- Drift: what the cloud did by itself

    async def found_asleep(
        self, satellite: Satellite, by: Attribution, how: SleepKind, detail: str
    ) -> Changed | None:
        return await change(
            self._database, satellite, Event.FOUND_ASLEEP, by, detail=detail, sleep_kind=how.value
        )

    async def found_at(
        self, satellite: Satellite, by: Attribution, event: Event, address: Address
    ) -> Changed | None:
        """`found_running` or `moved`."""
        return await change(
            self._database,
            satellite,
            event,
            by,
            host=address.host,
            port=address.port,
            after_wake=_seconds(self._config.after_wake),
        )

    def _back_off(self) -> dict[str, Any]:
        return {
            "first_back_off": _seconds(self._config.first_back_off),
            "longest_back_off": _seconds(self._config.longest_back_off),
        }


def _as_json(wanted: Wanted) -> str:
    return rows.as_json({"size": wanted.size, "settings": dict(wanted.settings), "by": wanted.by})


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
