"""Each event's write, as the store makes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from torpor_provisioner.contract import Address, SleepKind
from torpor_provisioner.errors import Capacity, TorporError
from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.lifecycle.satellite import Satellite, Wanted
from torpor_statemachine.lifecycle.states import WakeKind
from torpor_statemachine.store.changes import Changed
from torpor_statemachine.store.transitions import Transitions

ADDRESS = Address("cloud", 1)
ERROR: TorporError = Capacity("no")
Write = Callable[[Transitions, Satellite, Any], Awaitable[Changed | None]]

CLAIMS: dict[Event, Write] = {
    Event.WAKE: lambda store, seen, by: store.wake(seen, by),
    Event.SLEEP: lambda store, seen, by: store.sleep(seen, by),
    Event.GIVE_UP: lambda store, seen, by: store.give_up(seen, by),
    Event.TERMINATE: lambda store, seen, by: store.terminate(seen, by),
    Event.UPDATE: lambda store, seen, by: store.update(seen, Wanted("", {}), by),
    Event.REPAIR: lambda store, seen, by: store.repair(seen, by),
}
COMPLETIONS: dict[Event, Write] = {
    Event.WOKE: lambda store, seen, by: store.arrived(
        seen, by, Event.WOKE, ADDRESS, WakeKind.STARTED
    ),
    Event.LAUNCHED: lambda store, seen, by: store.arrived(
        seen, by, Event.LAUNCHED, ADDRESS, WakeKind.LAUNCHED
    ),
    Event.WAKE_REFUSED: lambda store, seen, by: store.wake_refused(seen, by, ERROR),
    Event.WAKE_FAILED: lambda store, seen, by: store.wake_failed(seen, by, ERROR),
    Event.SLEPT: lambda store, seen, by: store.slept(seen, by, SleepKind.STOPPED, ""),
    Event.SLEEP_ABANDONED: lambda store, seen, by: store.sleep_abandoned(seen, by),
    Event.SLEEP_FAILED: lambda store, seen, by: store.sleep_failed(seen, by, ERROR),
    Event.UPDATED: lambda store, seen, by: store.done(seen, by, Event.UPDATED),
    Event.ENDED: lambda store, seen, by: store.done(seen, by, Event.ENDED),
    Event.LAUNCH_FAILED: lambda store, seen, by: store.failed(seen, by, Event.LAUNCH_FAILED, ERROR),
    Event.UPDATE_FAILED: lambda store, seen, by: store.failed(seen, by, Event.UPDATE_FAILED, ERROR),
    Event.TERMINATE_FAILED: lambda store, seen, by: store.failed(
        seen, by, Event.TERMINATE_FAILED, ERROR
    ),
}
