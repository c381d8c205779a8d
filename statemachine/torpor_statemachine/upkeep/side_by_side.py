"""Many satellites that a node has found something to do for, a few of them at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from torpor_provisioner.errors import TorporError
from torpor_statemachine.lifecycle.satellite import Satellite
from torpor_statemachine.postgres.pool import CONNECTIONS, DatabaseAway

logger = logging.getLogger(__name__)

AT_ONCE = CONNECTIONS - 1  # claims; requests need a connection, too


async def side_by_side(
    satellites: Iterable[Satellite], act: Callable[[Satellite], Awaitable[object]]
) -> None:
    """Do `act` for each. One that fails is logged, and keeps no other from its turn.

    Raises:
        DatabaseAway: and the rest is left to the next time.
    """
    rest = iter(satellites)
    away: list[DatabaseAway] = []

    async def in_turn() -> None:
        for satellite in rest:
            if away:
                return
            try:
                await act(satellite)
            except DatabaseAway as error:
                away.append(error)
            except TorporError as error:
                logger.warning("%r is left as it is: %s", satellite, error)
            except Exception:
                logger.exception("%r is left as it is", satellite)

    await asyncio.gather(*(in_turn() for _ in range(AT_ONCE)))
    if away:
        raise away[0]
