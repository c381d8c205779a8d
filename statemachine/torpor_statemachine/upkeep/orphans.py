"""Machines that belong to no satellite, ended when they are seen a second time: a launch may
just be on its way. Those of satellites that this database has never had are strays
(`store.strays`), and ended only if an operator says so.

One node at a time searches a cloud, and goes through what it finds a part at a time: a list of
100,000 machines as one value of a statement would keep the event loop for a tenth of a second.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from datetime import datetime

from torpor_provisioner.errors import TorporError
from torpor_statemachine.config import FleetConfig
from torpor_statemachine.errors import StrayMachines
from torpor_statemachine.store.duties import Duties, Machines
from torpor_statemachine.store.strays import Strays
from torpor_statemachine.store.turns import Turns
from torpor_statemachine.work.clouds import CloudCalls

logger = logging.getLogger(__name__)

PART = 500  # machines in a statement
NAMED = 10  # strays in a line of the log


class Orphans:
    def __init__(self, turns: Turns, duties: Duties, strays: Strays, config: FleetConfig) -> None:
        self._turns = turns
        self._duties = duties
        self._strays = strays
        self._seen_before = config.orphans / 2  # by whichever node looked last

    async def end(self, cloud: CloudCalls, pause: float) -> None:
        """Search `cloud`, unless any node has begun to within `pause` seconds."""
        begun = await self._turns.take(f"orphans of {cloud.name}", pause)
        if begun is not None:
            await self._search(cloud, begun)

    async def _search(self, cloud: CloudCalls, begun: datetime) -> None:
        machines = await cloud.call("owned", lambda made: made.owned())
        found: list[str] = []
        for part in _parts(machines):
            strays = await self._strays.compare(cloud.name, part)
            found += strays.found
            for ref in strays.ending:
                logger.warning("ending %s of %s: an operator has said so", ref, cloud.name)
                await _end(cloud, ref)
            for ref in await self._duties.orphans(cloud.name, part, self._seen_before):
                owner = part[ref][0]
                logger.warning(
                    "ending %s of %s: it belongs to no satellite %s", ref, cloud.name, owner
                )
                await _end(cloud, ref)
        await self._strays.forget(cloud.name, begun)
        await self._duties.no_orphans(cloud.name, begun)
        if found:
            logger.warning(
                "%s %d machines of %s are of satellites that were never in this database, and are"
                " left alone: %s. Is it the right one? See 'torpor fleet strays'",
                StrayMachines.code,
                len(found),
                cloud.name,
                ", ".join(found[:NAMED]),
            )


def _parts(machines: Machines) -> Iterator[Machines]:
    all_of_them = iter(machines.items())
    while part := dict(itertools.islice(all_of_them, PART)):
        yield part


async def _end(cloud: CloudCalls, ref: str) -> None:
    """One that cannot be ended now keeps no other alive; the next search tries again."""
    try:
        await cloud.call("terminate", lambda made: made.terminate(ref))
    except TorporError as error:
        logger.warning("%s of %s could not be ended: %s", ref, cloud.name, error)
