"""What AWS tells of an instance, in the contract's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torpor_provisioner.contract import Address, MachineState, Observed, SleepKind
from torpor_provisioner.errors import Capacity, NotReady, ProvisionerError, StartFailed

# "Instance lifecycle" in the Amazon EC2 User Guide,
# docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html. A machine that shuts
# down for good counts as gone at once: nothing can be asked of it any more.
STATES: Mapping[str, MachineState] = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "stopping": MachineState.STOPPING,
    "stopped": MachineState.ASLEEP,
    "shutting-down": MachineState.GONE,
    "terminated": MachineState.GONE,
}
LIVE = [name for name, state in STATES.items() if state is not MachineState.GONE]

# StateReason in the Amazon EC2 API Reference. This one says that hibernation "was initiated": that
# it was asked for. "If an instance cannot hibernate successfully, a normal shutdown occurs" (Amazon
# EC2 User Guide, "Hibernate your Amazon EC2 instance"), and nothing says that the reason changes
# then. Whether the memory was kept, the machine's boot id tells at its next wake.
HIBERNATED = "Client.UserInitiatedHibernate"
# Of machines that were told to stop, or that AWS had announced to stop. All others failed.
STOPPED_BY_WISH = frozenset(
    {
        "",
        HIBERNATED,
        "Client.InstanceInitiatedShutdown",
        "Client.UserInitiatedShutdown",
        "Server.ScheduledStop",
    }
)
FULL = "Server.InsufficientInstanceCapacity"
GONE = Observed(MachineState.GONE, detail="EC2 knows no such instance")


def observed(
    instance: Mapping[str, Any], port: int, note: str = "", *, identity_port: int = 0
) -> Observed:
    """`note` is what this node knows besides, of the last thing it asked of the machine."""
    state = state_of(instance)
    if state is MachineState.GONE:
        return Observed(state, detail=_reasons(instance))
    host = instance.get("PrivateIpAddress")
    address = Address(host, port) if host else None
    if state is not MachineState.ASLEEP:
        says_so = Address(host, identity_port) if host and identity_port else None
        return Observed(state, address, identity=says_so)
    detail = "; ".join(part for part in (note, _reasons(instance)) if part)
    return Observed(state, address, sleep_kind(instance), detail, failure=_failure(instance))


def sleep_kind(instance: Mapping[str, Any]) -> SleepKind:
    """How it was asked to sleep."""
    return SleepKind.HIBERNATED if _reason(instance) == HIBERNATED else SleepKind.STOPPED


def state_of(instance: Mapping[str, Any]) -> MachineState:
    """Its state.

    Raises:
        NotReady: AWS tells one that it does not document.
    """
    name = instance.get("State", {}).get("Name", "")
    if name not in STATES:
        raise NotReady(f"EC2 says {name!r} of {instance.get('InstanceId')}")
    return STATES[name]


def _reason(instance: Mapping[str, Any]) -> str:
    code: str = instance.get("StateReason", {}).get("Code", "")
    return code


def _failure(instance: Mapping[str, Any]) -> ProvisionerError | None:
    """Why AWS stopped it by itself, in its words."""
    reason = _reason(instance)
    if reason in STOPPED_BY_WISH:
        return None
    return Capacity(_reasons(instance)) if reason == FULL else StartFailed(_reasons(instance))


def _reasons(instance: Mapping[str, Any]) -> str:
    reason = instance.get("StateReason", {}).get("Message", "")
    return "; ".join(part for part in (reason, instance.get("StateTransitionReason", "")) if part)
