"""One node's telemetry, put together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, Self

from torpor_provisioner.contract import Address
from torpor_router.relay.context import Relay
from torpor_router.strangers import Strangers
from torpor_router.telemetry import catalogue
from torpor_router.telemetry.census import Census
from torpor_router.telemetry.endpoint import Answer, Endpoint
from torpor_router.telemetry.fleet import FleetObserver
from torpor_router.telemetry.instruments import Instruments, Values
from torpor_router.telemetry.lag import STALLED, LagSampler
from torpor_router.telemetry.month import Month
from torpor_router.telemetry.refusals import ControlObserver
from torpor_router.telemetry.relay import RelayObserver
from torpor_statemachine import clock
from torpor_statemachine.node.stream_reports import KeptAwake
from torpor_statemachine.postgres.pool import Database

if TYPE_CHECKING:  # the SDK is imported where there are traces
    from torpor_router.telemetry.traces.tracing import Tracing

_SCRAPE_WAITS = 1.0  # seconds for the database; a scrape goes without it otherwise


class Counting(Protocol):
    """What is read of `door.Door`."""

    relay: Relay
    strangers: Strangers

    @property
    def accept_failures(self) -> int: ...

    @property
    def disbelieved(self) -> Counter[str]: ...


class Keeping(Protocol):
    """What is read of `torpor_statemachine.fleet.Fleet`."""

    @property
    def kept_awake(self) -> KeptAwake: ...


class Telemetry:
    """Observers to hand out at once; what is read rather than told is given to `read` later.

    `ready` is what `/readyz` tells: whether a load balancer should send new connections here. It
    does not depend on the database: all nodes would be left at once, with every running satellite
    within their reach.
    """

    def __init__(self, tracing: Tracing | None = None, *, provisioners: Iterable[str] = ()) -> None:
        self._tracing = tracing
        self._instruments = Instruments(provisioners)
        refusals = self._instruments.counter(catalogue.REFUSALS)
        self.relay_observer = RelayObserver(
            self._instruments, refusals, tracing.holds if tracing is not None else None
        )
        self.control_observer = ControlObserver(refusals)
        self.fleet_observer = FleetObserver(
            self._instruments, tracing.wakes if tracing is not None else None
        )
        self.ready = False
        self.lag = LagSampler(self._instruments.histogram(catalogue.LAG).record)
        self._sampling: asyncio.Task[None] | None = None
        self._census: Census | None = None
        self._month: Month | None = None
        self._endpoints: list[Endpoint] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Telemetry {'ready' if self.ready else 'not ready'} at {self._endpoints}>"

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def start(self) -> None:
        """Begin to measure the running loop."""
        self._loop = asyncio.get_running_loop()
        self._sampling = asyncio.create_task(self.lag.run(), name="event loop lag")
        self._instruments.read(catalogue.SPANS, self._spans)
        self._instruments.read(catalogue.DATABASE_UP, lambda: _one(self.fleet_observer.database_up))

    def read(self, *, door: Counting, fleet: Keeping, database: Database) -> None:
        """Read these at every scrape. To be called once."""
        read, counts = self._instruments.read, door.relay.counts
        read(catalogue.OPEN_STREAMS, lambda: _one(counts.streams))
        read(catalogue.STREAMS, lambda: _one(counts.streams_opened))
        read(catalogue.OPEN_CONNECTIONS, lambda: _one(counts.connections))
        read(catalogue.CONNECTIONS, lambda: _one(counts.connections_opened))
        read(catalogue.ACCEPT_FAILURES, lambda: _one(door.accept_failures))
        read(catalogue.DISBELIEVED, lambda: _by("reason", door.disbelieved))
        read(catalogue.STRANGERS, lambda: _one(len(door.strangers)))
        read(catalogue.STRANGERS_REFUSED, lambda: _by("code", door.strangers.refused))
        read(catalogue.KEPT_AWAKE, lambda: _one(fleet.kept_awake.satellites))
        read(catalogue.STREAMS_KEEPING, lambda: _one(fleet.kept_awake.streams))
        read(catalogue.OLDEST_KEEPING, lambda: _one(_age(fleet.kept_awake.oldest)))
        read(catalogue.HELD, lambda: _one(door.relay.holds.total))
        read(catalogue.DATABASE_STATEMENTS, lambda: _one(database.queries))
        read(catalogue.DATABASE_WAITS, lambda: _by("waited_for", database.waits))
        self._census = Census(database)
        read(catalogue.SATELLITES, self._satellites)
        read(catalogue.STRAYS, self._strays)

    def count_notices(self, results: Mapping[str, int]) -> None:
        """Read at every scrape what became of deliveries to webhooks. To be called once."""
        self._instruments.read(catalogue.NOTICES, lambda: _by("result", results))

    def read_month(self, month: Month) -> None:
        """Read this at every scrape. To be called once."""
        self._month = month
        month.read_by(self._instruments)

    async def listen(self, host: str, port: int) -> Address:
        """Open the endpoint; where it listens.

        Raises:
            OSError: it cannot listen there.
        """
        pages = {"/metrics": self._metrics, "/healthz": self._health, "/readyz": self._readiness}
        endpoint = Endpoint(host, port, pages)
        self._endpoints.append(endpoint)
        return endpoint.address

    async def aclose(self) -> None:
        for endpoint in self._endpoints:
            await asyncio.to_thread(endpoint.close)
        self._endpoints.clear()
        if self._sampling is not None:
            self._sampling.cancel()
            with suppress(asyncio.CancelledError):
                await self._sampling
        if self._census is not None:
            await self._census.aclose()
        if self._month is not None:
            await self._month.aclose()
        if self._tracing is not None:
            await self._tracing.aclose()
        self._instruments.close()

    # --- in the endpoint's threads

    def _metrics(self, accept: str) -> Answer:
        self._refresh_census()
        body, content_type = self._instruments.render(accept)
        return Answer(body, content_type=content_type)

    def _refresh_census(self) -> None:
        if self._month is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._month.refresh)
        if self._census is None or self._loop is None:
            return
        refreshing = asyncio.run_coroutine_threadsafe(self._census.refresh(), self._loop)
        try:
            refreshing.result(_SCRAPE_WAITS)
        except Late:
            refreshing.cancel()

    def _spans(self) -> Values:
        box = self._tracing.outbox if self._tracing is not None else None
        return _by("outcome", {name: getattr(box, name, 0) for name in catalogue.SPAN_OUTCOMES})

    def _satellites(self) -> Values:
        counts = self._census.counts if self._census is not None else None
        return [(count, {"state": state}) for state, count in (counts or {}).items()]

    def _strays(self) -> Values:
        strays = self._census.strays if self._census is not None else None
        return _by("provisioner", strays or {})

    def _health(self, _: str) -> Answer:
        if (silent := self.lag.since_last) > STALLED:
            body = f"the event loop has not run for {silent:.0f} s\n".encode()
            return Answer(body, HTTPStatus.SERVICE_UNAVAILABLE)
        return Answer(b"ok\n")

    def _readiness(self, accept: str) -> Answer:
        if not self.ready:
            return Answer(b"not ready\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return self._health(accept)


def _by(label: str, counts: Mapping[str, int]) -> Values:
    return [(count, {label: name}) for name, count in counts.items()]


def _age(since: float | None) -> float:
    return 0.0 if since is None else clock.now() - since


def _one(value: float) -> Iterable[tuple[float, dict[str, str]]]:
    return [(float(value), {})]
