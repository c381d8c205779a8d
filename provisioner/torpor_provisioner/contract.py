"""The contract between Torpor and a cloud.

Every call is idempotent: repeating it after a lost answer does nothing more. Every call is
async and returns once the cloud has *accepted* it; what became of it is seen with `observe`,
never by waiting inside a call. Failures are the classes of `torpor_provisioner.errors`.

What the lifecycle builds on besides, and `torpor_provisioner.conformance` checks:

- **Nothing happens later than the call.** A call that takes longer than some seconds is cancelled,
  at any await, and another node may then move the machine. What was not yet begun must not be
  begun after that, and after the call's deadline: `torpor_provisioner.deadline` tells it, also to
  threads and to queues that calls share. A cloud that takes a deadline is given it.
- **A machine keeps its address over its sleep.** The worker is asked there before the cloud shows
  that it runs. One that has another address all the same is found there, some looks later; but
  its old address must not be another satellite's, unless machines say who they are (`Identity`).
- **`observe` is cheap.** While a machine moves it is asked up to ten times a second by each node,
  for one machine or for hundreds. It may share its requests, and answer from a feed; what it
  answers may be some seconds old, but never older than what it answered before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable
from uuid import UUID

from torpor_provisioner.errors import ProvisionerError


class Arch(StrEnum):
    X86_64 = "x86_64"
    ARM64 = "arm64"


class SleepKind(StrEnum):
    """How a machine sleeps: with its memory kept, or with its disk only."""

    HIBERNATED = "hibernated"
    STOPPED = "stopped"


class MachineState(StrEnum):
    """What the cloud says of a machine, reduced to what the lifecycle acts on."""

    PENDING = "pending"  # being launched, started or resumed
    RUNNING = "running"
    STOPPING = "stopping"  # on its way to sleep; cannot be started yet
    ASLEEP = "asleep"
    GONE = "gone"  # terminated, or never heard of


class Address(NamedTuple):
    """Where something listens. A `host` that begins with / is the path of a Unix socket, whose
    `port` is 0."""

    host: str
    port: int

    @property
    def is_path(self) -> bool:
        return self.host.startswith("/")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which machine answers, in its own words; see `torpor_provisioner.identity`.

    `boot_id` is another one after each boot, and the same one after a sleep that kept the memory.
    `launch_token` is the launch's (`Spec.launch_token`), `uptime` the seconds since the boot.
    """

    boot_id: str
    launch_token: str
    uptime: float


@dataclass(frozen=True, slots=True)
class Spec:
    """What to launch. `generation` rises each time a satellite gets a new machine."""

    satellite_id: UUID
    generation: int
    org: str
    name: str
    arch: Arch
    size: str = ""  # the provisioner's own word; empty: its default
    hibernate: bool = True  # whether the machine should be able to
    settings: Mapping[str, str] = field(default_factory=dict)  # provisioner-specific

    @property
    def launch_token(self) -> str:
        """Names this launch, however often it is repeated. It is no secret: it opens nothing."""
        return launch_token(self.satellite_id, self.generation)


def launch_token(satellite_id: UUID, generation: int) -> str:
    return f"{satellite_id}/{generation}"


@dataclass(frozen=True, slots=True)
class Observed:
    """One machine as the cloud saw it.

    `sleep_kind` says how it sleeps (ASLEEP only), which may be less than was asked for;
    `detail` is the cloud's own words, for the transitions log. `identity` is where the machine
    itself says which one it is, if it does. `failure`: the cloud stopped it by itself, and why.
    """

    state: MachineState
    address: Address | None = None
    sleep_kind: SleepKind | None = None
    detail: str = ""
    identity: Address | None = None
    failure: ProvisionerError | None = None


@runtime_checkable
class Provisioner(Protocol):
    """See the module's docstring for what holds of every call."""

    async def launch(self, spec: Spec, token: str) -> str:
        """Make a machine and return its ref; the same `token` always gives the same machine."""
        ...

    async def wake(self, ref: str) -> None:
        """Start or resume; nothing happens if it runs. NotReady while it is still stopping."""
        ...

    async def sleep(self, ref: str, how: SleepKind) -> None:
        """Hibernate or stop; nothing happens if it sleeps. May fall back to STOPPED. NotReady while
        the machine is too young: requests that come then are let in."""
        ...

    async def terminate(self, ref: str) -> None:
        """End the machine and its disks; nothing happens if it is gone."""
        ...

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        """What is true now, for every ref asked for (GONE for one that is unknown)."""
        ...

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        """Every machine of this deployment: ref to (satellite id, generation). Finds orphans."""
        ...

    async def aclose(self) -> None:
        """Let go of connections. Machines are left as they are."""
        ...


@runtime_checkable
class Changeable(Protocol):
    """What a provisioner may be able to do besides: change a machine while it is stopped.

    Both are idempotent, raise NotReady unless the machine is stopped and Invalid while it is
    hibernated: what its memory holds fits no other size and no other root.
    """

    async def resize(self, ref: str, spec: Spec) -> None:
        """Give it the spec's size, and disks of at least the spec's; disks never shrink."""
        ...

    async def update(self, ref: str, spec: Spec) -> None:
        """Replace its system by the spec's image; what the worker has cached stays."""
        ...


@runtime_checkable
class Checking(Protocol):
    """What a provisioner may be able to do besides: say beforehand what it would never launch."""

    async def check(self, spec: Spec) -> None:
        """Raise Invalid, with what is wrong, if no such machine can be made; makes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a cloud would let us do: calls by their names. `refused` says why."""

    allowed: Collection[str]
    refused: Mapping[str, str]
    untried: Collection[str] = ()  # they are about a machine, and there is none


@runtime_checkable
class Rehearsing(Protocol):
    """What a provisioner may be able to do besides: ask its cloud which calls it would allow."""

    async def rehearse(self) -> Mapping[str, Rehearsal]:
        """By place, in words for people. Changes nothing."""
        ...


@runtime_checkable
class LimitedHibernation(Protocol):
    """Some clouds keep a machine's memory only for so long.

    A machine that slept hibernated for `longest_hibernation` is woken and stopped. It stays so
    until it is wanted; if the cloud `renews_hibernation`, it is started at once, and hibernates
    when it is idle.
    """

    @property
    def longest_hibernation(self) -> timedelta: ...

    @property
    def renews_hibernation(self) -> bool: ...
