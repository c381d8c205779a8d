"""The reconciler's rounds by a test's hand, and what people do to machines."""

from __future__ import annotations

from dataclasses import replace

from fleetkit.world import QUICK, World

from torpor_provisioner.contract import MachineState, SleepKind
from torpor_statemachine.fleet import Fleet

BY_HAND = replace(QUICK, reconcile=3600.0, orphans=3600.0)  # its rounds are a test's to make


async def check(world: World, fleet: Fleet) -> None:
    """Make a round of `fleet`'s reconciler, due or not."""
    fleet._reconciler._rounds._of.clear()
    await fleet._reconciler.check()


def stop(world: World, ref: str | None, kind: SleepKind = SleepKind.STOPPED) -> None:
    """Stop a machine in the cloud, behind Torpor's back."""
    assert ref is not None
    machine = world.cloud.machines[ref]
    machine.state, machine.sleep_kind = MachineState.ASLEEP, kind
