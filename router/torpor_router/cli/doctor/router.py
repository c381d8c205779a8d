"""Token, permission, route and worker: what the router itself says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor_provisioner.errors import Status, TorporError
from torpor_router.access.roles import Right
from torpor_router.cli.client_errors import NoToken
from torpor_router.cli.doctor.finding import Broken, Finding
from torpor_router.cli.failures import Failed, Failure
from torpor_statemachine.lifecycle.states import State

if TYPE_CHECKING:
    from torpor_router.cli.client import Client
    from torpor_router.cli.connection import Target
    from torpor_router.control.messages import CallerView


def recognised(client: Client, target: Target) -> tuple[CallerView, Finding]:
    """Who the token says that the caller is.

    Raises:
        Broken
    """
    if not target.token:
        raise Broken.by("token", NoToken())
    try:
        caller = client.whoami()
    except (Failed, TorporError) as error:
        raise _broken("token", error) from error
    whose = f" of {caller.org}" if caller.org else ""
    return caller, Finding("token", ok=True, detail=f"{caller.caller}{whose}")


def permitted(caller: CallerView, name: str) -> Finding:
    """Whether the caller may build; on that satellite, if one is named.

    Raises:
        Broken
    """
    may = ", ".join(caller.rights)
    if name and caller.satellites and name not in caller.satellites:
        raise Broken(
            "permission",
            f"the token is only for {', '.join(caller.satellites)}",
            f"Use a token that is for {name} too: 'torpor token narrow' shows how",
        )
    if name and not caller.may(Right.BUILD):
        raise Broken(
            "permission",
            f"this token may not build; it may: {may or 'nothing'}",
            "Use a token whose role may build: ci, member or admin",
        )
    return Finding("permission", ok=True, detail=f"may: {may or 'nothing'}")


def routed(client: Client, caller: CallerView, name: str) -> tuple[State | None, Finding]:
    """Whether there is such a satellite, and its state where the caller may look.

    Raises:
        Broken
    """
    whole = f"{caller.org}/{name}"
    if not caller.may(Right.LOOK):
        return None, Finding("route", ok=True, detail=f"to {whole}; its state is not yours to see")
    try:
        satellite = client.get(name)
    except (Failed, TorporError) as error:
        raise _broken("route", error) from error
    if satellite.state in (State.FAILED, State.TERMINATING):
        raise Broken(
            "route",
            f"{whole} is {satellite.state}: {satellite.failure or 'it is being removed'}",
            f"'satellite repair {name}' gives it a new machine"
            if satellite.state is State.FAILED
            else "'satellite launch' makes another",
        )
    return satellite.state, Finding("route", ok=True, detail=f"to {whole}, {satellite.state}")


def answered(client: Client, caller: CallerView, name: str, state: State | None) -> Finding:
    """Whether a call through the door reaches the worker. It is one that wakes nothing.

    Raises:
        Broken
    """
    try:
        client.knock(f"{caller.org}/{name}")
    except Failed as error:
        failure = error.failure
        if failure.status is not Status.UNIMPLEMENTED or failure.code:
            raise _broken("worker", error) from error
    if state is State.RUNNING:
        return Finding("worker", ok=True, detail="it answers")
    if state is None:
        return Finding("worker", ok=True, detail="it answers, or is asleep: a build wakes it")
    return Finding("worker", ok=True, detail=f"{state}: a build wakes it")


def _broken(check: str, error: Failed | TorporError) -> Broken:
    failure = error.failure if isinstance(error, Failed) else Failure.of(error)
    if check == "worker" and not failure.code and failure.status is Status.DEADLINE_EXCEEDED:
        return Broken(
            check,
            "it does not answer",
            "Look into the worker's log on the satellite, or put it to sleep and wake it again",
        )
    remedy = failure.remedy or "Look into the router's log"
    return Broken(check, failure.message, remedy, failure.code)
