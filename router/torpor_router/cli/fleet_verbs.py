"""`torpor fleet inspect`, `why`, `history`, `wake`, `sleep` and `rm`: of any org's satellite.

They read and claim in the database itself; a router carries out what was claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from torpor_router.cli.acting import actor, note
from torpor_router.cli.confirmation import confirm
from torpor_router.cli.interrupting import goes_on
from torpor_router.cli.output import Output, with_output
from torpor_router.cli.storage import Storage, with_storage
from torpor_statemachine.lifecycle.states import TRANSIENT_STATES

if TYPE_CHECKING:
    from torpor_router.control.messages import SatelliteView, TransitionView
    from torpor_statemachine.lifecycle.satellite import Satellite
    from torpor_statemachine.postgres.pool import Database
    from torpor_statemachine.shell import Shell

SHOWN_STEPS = 5  # of the log, in `inspect`
_LOOK = 0.5  # seconds between two looks at one that changes
_NAME = click.argument("name", metavar="ORG/NAME")
_WAIT = click.option("--wait/--no-wait", default=True, show_default=True, help="Until it is done.")


@click.command()
@_NAME
@with_storage
@with_output
def inspect(name: str, output: Output, storage: Storage) -> None:
    """Show one satellite, and why it is awake or asleep."""
    from torpor_router.cli.describe import tell_inspected

    async def work(database: Database) -> tuple[SatelliteView, list[TransitionView]]:
        found = await _find(database, name)
        return _view(found), await _log(database, found, SHOWN_STEPS)

    satellite, log = storage.run(work)
    tell_inspected(satellite, log, output)


@click.command()
@_NAME
@with_storage
@with_output
def why(name: str, output: Output, storage: Storage) -> None:
    """Say why a satellite is awake or asleep, as 'satellite why' does."""
    from torpor_router.cli.describe import tell_why

    async def work(database: Database) -> tuple[str, SatelliteView]:
        from torpor_router.control.explaining import STEPS, explained
        from torpor_statemachine.store.queries import Queries

        found = await _find(database, name)
        log = await Queries(database).history(found.id, STEPS)
        return explained(found, log, datetime.now(UTC)), _view(found)

    tell_why(*storage.run(work), output)


@click.command()
@_NAME
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)
@with_storage
@with_output
def history(*, name: str, limit: int, output: Output, storage: Storage) -> None:
    """Show what happened to a satellite, the newest first."""
    from torpor_router.cli.describe import tell_history

    async def work(database: Database) -> list[TransitionView]:
        return await _log(database, await _find(database, name), limit)

    log = storage.run(work)
    tell_history(log, output)


@click.command()
@_NAME
@_WAIT
@with_storage
@with_output
def wake(*, name: str, wait: bool, output: Output, storage: Storage) -> None:
    """Wake a satellite. Interrupting the command stops nothing."""

    async def claim(shell: Shell, satellite: Satellite) -> Satellite:
        return await shell.wake(satellite.id, actor())

    _change(storage, name, "wake", claim, output, wait=wait)


@click.command()
@_NAME
@click.option("--force", is_flag=True, help="Although builds run on it; they are ended.")
@_WAIT
@with_storage
@with_output
def sleep(*, name: str, force: bool, wait: bool, output: Output, storage: Storage) -> None:
    """Put a satellite to sleep. Refused while builds run on it."""

    async def claim(shell: Shell, satellite: Satellite) -> Satellite:
        return await shell.sleep(satellite.id, actor(), force=force)

    _change(storage, name, "sleep", claim, output, wait=wait)


@click.command()
@_NAME
@click.option("--force", is_flag=True, help="Although builds run on it, or it is launching.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_WAIT
@with_storage
@with_output
def rm(*, name: str, force: bool, yes: bool, wait: bool, output: Output, storage: Storage) -> None:
    """End a satellite, its machine and its disk."""
    confirm(f"This ends {name!r}, its machine and its disk.", name, yes=yes)

    async def claim(shell: Shell, satellite: Satellite) -> Satellite:
        return await shell.terminate(satellite.id, actor(), force=force)

    _change(storage, name, "rm", claim, output, wait=wait)


def _change(
    storage: Storage,
    name: str,
    what: str,
    claim: Callable[[Shell, Satellite], Awaitable[Satellite]],
    output: Output,
    *,
    wait: bool,
) -> None:
    from torpor_router.cli.describe import tell_state

    async def work(database: Database) -> SatelliteView:
        from torpor_statemachine.shell import Shell

        shell, found = Shell(database), await _find(database, name)
        now = await claim(shell, found)
        with goes_on(output, f"torpor fleet inspect {found.full_name}"):
            await note(database, f"fleet {what}", found.org, found.name)
            while wait and now.state in TRANSIENT_STATES:
                await asyncio.sleep(_LOOK)
                now = await shell.get(found.id)
        return _view(now)

    tell_state(storage.run(work), output)


async def _find(database: Database, full_name: str) -> Satellite:
    """
    Raises:
        BadSatelliteName, UnknownOrg, UnknownSatellite: it is not there.
    """
    from torpor_router.access.store import Store
    from torpor_router.errors import BadSatelliteName
    from torpor_statemachine.errors import UnknownSatellite
    from torpor_statemachine.shell import Shell

    org, slash, name = full_name.partition("/")
    if not (org and slash and name):
        raise BadSatelliteName(f"{full_name[:80]!r} is not ORG/NAME")
    owner = await Store(database).org(org)
    found = await Shell(database).find(owner.id, name)
    if found is None:
        raise UnknownSatellite(full_name[:100])
    return found


async def _log(database: Database, satellite: Satellite, limit: int) -> list[TransitionView]:
    from torpor_router.control.messages import TransitionView, transition_message
    from torpor_statemachine.store.queries import Queries

    steps = await Queries(database).history(satellite.id, limit)
    return [TransitionView.of(transition_message(each)) for each in steps]


def _view(satellite: Satellite) -> SatelliteView:
    from torpor_router.control.messages import SatelliteView, satellite_message

    return SatelliteView.of(satellite_message(satellite))
