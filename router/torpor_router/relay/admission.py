"""The part of a hold that takes time: finding the route, and waiting at the gate."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from uuid import UUID

from torpor_provisioner.errors import TorporError
from torpor_router.dialects.purpose import Purpose
from torpor_router.dialects.requests import next_look
from torpor_router.errors import DeadlineWhileHeld, Internal
from torpor_router.relay.held import Held
from torpor_router.relay.pair import Pair
from torpor_router.routing import Route
from torpor_router.targets import shown_token
from torpor_statemachine.postgres.pool import DatabaseAway

_OPENED = 0.3  # seconds in which a build that was opened must ask for work, or be ended
TELL = 1.0  # seconds in which a call that only tells must have found its satellite awake

log = logging.getLogger(__name__)


async def decide(pair: Pair, held: Held) -> None:
    """Bring `held` to its end: admitted or refused. Cancelling ends the wait without a word."""
    if not held.leased:
        await _pass_or_thank(pair, held)
        return
    try:
        async with asyncio.timeout(held.left(pair.relay.clock())):
            await _decide(pair, held)
    except TimeoutError:
        pair.holding.refuse(held, DeadlineWhileHeld(f"after {held.timeout:g} s"))
    except TorporError as error:
        pair.holding.refuse(held, error)
    except Exception:
        log.exception("deciding on a request failed")
        pair.holding.refuse(held, Internal())
    pair.run_due()


async def _routed(pair: Pair, held: Held) -> Route | None:
    """Where `held` goes; None if there is nothing left to wait for."""
    relay, holding = pair.relay, pair.holding
    if held.route is not None and held.admitted is None:
        return held.route
    token = partial(shown_token, held.fields)
    route = await relay.directory.route(held.target.ask, pair.peer.address, token)
    if held.admitted is not None:
        holding.confirmed(held, route)
        return None
    return route if holding.routed(held, route) else None


async def _decide(pair: Pair, held: Held) -> None:
    relay, holding, route = pair.relay, pair.holding, await _routed(pair, held)
    if route is None:
        return
    if held.target.purpose is Purpose.LOOKS:
        if await _answered_before(pair, held):
            return
        holding.count(held)
    elif held.target.purpose.of_a_build and relay.wake_progress:
        await _until_work(pair, route.satellite_id)
    spent = relay.clock() - held.since
    admitted = await relay.gate.admit(
        route.satellite_id,
        actor=route.caller,
        budget=max(0.0, relay.limits.hold_budget - spent),
    )
    if held.counted:
        relay.observer.admitted(held, admitted.epoch)
    holding.admitted(held, admitted)


async def _until_work(pair: Pair, satellite_id: UUID) -> None:
    """Give a build whose satellite sleeps a moment to end before it needs it."""
    gate, work = pair.relay.gate, pair.holding.work
    if work.is_set() or gate.outlook(satellite_id) is not None:
        return
    with suppress(DatabaseAway, TimeoutError):
        if await gate.running(satellite_id) is None:
            async with asyncio.timeout(_OPENED):
                await work.wait()


async def _answered_before(pair: Pair, held: Held) -> bool:
    """Have the node answer `held`, which only looks, as the worker last did; whether it does."""
    relay, route = pair.relay, held.route
    if relay.answers is None or route is None:
        return False
    try:
        if await relay.gate.running(route.satellite_id) is not None:
            return False
        for path in filter(None, (held.target.path, next_look(held.target.path))):
            if await relay.answers.find(route.satellite_id, path.decode("latin-1")) is None:
                return False
        pair.holding.look(held)
    except DatabaseAway:
        return False  # to wait for it is everyone's lot
    return True


async def _pass_or_thank(pair: Pair, held: Held) -> None:
    """Let `held`, which only tells, pass to a satellite that is awake; or have the node thank.

    That takes a second at most, and fails in no way: its sender waits for it on its way out.
    """
    with suppress(TorporError, TimeoutError):
        async with asyncio.timeout(TELL):
            await _find_awake(pair, held)
            pair.run_due()
            if held.admitted is not None:
                await asyncio.sleep(TELL)  # until it goes, which ends this wait
    pair.holding.thank(held)
    pair.run_due()


async def _find_awake(pair: Pair, held: Held) -> None:
    relay, holding, route = pair.relay, pair.holding, await _routed(pair, held)
    if route is None:
        return
    admitted = await relay.gate.running(route.satellite_id)
    if admitted is not None:
        holding.admitted(held, admitted)
