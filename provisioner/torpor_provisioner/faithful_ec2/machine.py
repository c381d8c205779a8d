"""One machine's timeline: its phases, when the next one is due, and what its worker is to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from torpor_provisioner.faithful_ec2.timing import Timing


class Phase(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"

    @property
    def code(self) -> int:
        """The number that goes with the name, in every answer (EAR, InstanceState)."""
        return CODES[self]


CODES = {
    Phase.PENDING: 0,
    Phase.RUNNING: 16,
    Phase.SHUTTING_DOWN: 32,
    Phase.TERMINATED: 48,
    Phase.STOPPING: 64,
    Phase.STOPPED: 80,
}


class Order(StrEnum):
    """To the worker."""

    BOOT = "boot"
    THAW = "thaw"
    FREEZE = "freeze"
    END = "end"
    KILL = "kill"


@dataclass(slots=True)
class Machine:
    """Times are EC2's; `due` holds what is to come, soonest first."""

    instance: str
    account: str
    region: str
    zone: str
    size: str
    address: str
    memory_gib: float
    configured: bool  # for hibernation, at launch
    launched_at: float
    appears_at: float
    phase: Phase = Phase.PENDING
    frozen: bool = False  # its memory is kept
    launch_token: str = ""  # as its user data would have it, see `contract.Spec`
    booted: bool = False
    failure: tuple[str, str] | None = None  # why it stops by itself: StateReason's code and words
    starts: int = 0  # that had an effect, the launch not counted
    due: list[tuple[float, Phase | Order]] = field(default_factory=list)

    def launch(self, timing: Timing) -> None:
        running = self.launched_at + timing.launch
        self.due = [(running, Phase.RUNNING), (running + timing.boot, Order.BOOT)]

    def start(self, now: float, timing: Timing, *, failure: tuple[str, str] | None = None) -> bool:
        """Whether it had an effect; with a `failure` it stops again before it runs."""
        if self.phase is not Phase.STOPPED:
            return False
        self.phase = Phase.PENDING
        self.starts += 1
        self.failure = failure
        if failure is not None:
            self.due = [(now + timing.start, Phase.STOPPED)]
        elif self.frozen:
            running = now + timing.resume
            thaw = timing.thaw + timing.thaw_per_gib * self.memory_gib
            self.due = [(running, Phase.RUNNING), (running + thaw, Order.THAW)]
        else:
            running = now + timing.start
            self.due = [(running, Phase.RUNNING), (running + timing.boot, Order.BOOT)]
        return True

    def stop(
        self, now: float, timing: Timing, *, hibernate: bool, fails: bool = False
    ) -> list[Order]:
        """Begin to stop what runs; what else it is, it stays. A hibernation that `fails` takes its
        time and keeps nothing."""
        if self.phase is not Phase.RUNNING:
            return []
        self.phase = Phase.STOPPING
        self.frozen = hibernate and self.booted and not fails
        writing = timing.hibernate + timing.hibernate_per_gib * self.memory_gib
        self.due = [(now + (writing if hibernate else timing.stop), Phase.STOPPED)]
        return [Order.FREEZE if self.frozen else Order.END]

    def terminate(self, now: float, timing: Timing) -> list[Order]:
        if self.phase in {Phase.SHUTTING_DOWN, Phase.TERMINATED}:
            return []
        self.phase = Phase.SHUTTING_DOWN
        self.due = [(now + timing.terminate, Phase.TERMINATED)]
        return [Order.KILL]

    def advance(self, now: float) -> list[Order]:
        """Take the steps that are due."""
        orders: list[Order] = []
        while self.due and self.due[0][0] <= now:
            _, step = self.due.pop(0)
            if isinstance(step, Order):
                orders.append(step)
                self.booted = True
                self.frozen = False
                continue
            self.phase = step
            if step is Phase.STOPPED and not self.frozen:
                self.booted = False
                orders.append(Order.KILL)
        return orders
