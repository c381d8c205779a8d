"""All machines, and their likeness in moto's records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models import ec2_backends

from torpor_provisioner.contract import launch_token
from torpor_provisioner.ec2 import tags
from torpor_provisioner.faithful_ec2.machine import Machine, Order, Phase
from torpor_provisioner.faithful_ec2.query import Refusal
from torpor_provisioner.faithful_ec2.script import Script
from torpor_provisioner.faithful_ec2.timing import Clock, Timing
from torpor_provisioner.faithful_ec2.workers import Workers

_SOON = 0.01  # our seconds between two looks at what is due
HIBERNATED = ("Client.UserInitiatedHibernate", "User initiated hibernate")
SHUT_DOWN = ("Client.UserInitiatedShutdown", "User initiated shutdown")
GIB = 1024  # MiB


class World:
    """Not for several threads at once: its owner holds a lock."""

    def __init__(self, clock: Clock, timing: Timing, script: Script, workers: Workers) -> None:
        self.clock = clock
        self.timing = timing
        self.script = script
        self.machines: dict[str, Machine] = {}
        self._workers = workers
        self._ending: set[str] = set()  # machines whose worker was told to end before they are off

    def __repr__(self) -> str:
        return f"<World {len(self.machines)} machines>"

    def add(self, account: str, region: str, instance: str) -> Machine:
        """A machine that moto has just made."""
        moto_instance = self._moto(account, region, instance)
        now = self.clock.now()
        memory = (
            kind_of(account, region, moto_instance.instance_type)["MemoryInfo"]["SizeInMiB"] / GIB
        )
        machine = Machine(
            instance=instance,
            account=account,
            region=region,
            zone=moto_instance.placement.zone,
            size=moto_instance.instance_type,
            address=moto_instance.private_ip_address,
            memory_gib=memory,
            configured=bool((moto_instance.hibernation_options or {}).get("Configured")),
            launch_token=_launch_token(
                {tag["key"]: tag["value"] for tag in moto_instance.get_tags()}
            ),
            launched_at=now,
            appears_at=now + self.timing.appears,
        )
        machine.launch(self.timing)
        self.machines[instance] = machine
        self.script.take_room(machine.size, machine.zone)
        self._show(machine)
        return machine

    def of(self, account: str, region: str, names: Iterable[str]) -> list[Machine]:
        """The machines of those ids.

        Raises:
            Refusal: one of them is not there, or cannot be found yet.
        """
        found, missing = [], []
        for name in names:
            machine = self.machines.get(name)
            if machine is None or not self._is_seen(machine, account, region):
                missing.append(name)
            else:
                found.append(machine)
        if missing:
            listed = ", ".join(missing)
            message = (
                f"The instance ID '{listed}' does not exist"
                if len(missing) == 1
                else f"The instance IDs '{listed}' do not exist"
            )
            raise Refusal("InvalidInstanceID.NotFound", message)
        return found

    def hidden(self, account: str, region: str) -> set[str]:
        """Machines that cannot be found yet."""
        now = self.clock.now()
        return {
            m.instance
            for m in self.machines.values()
            if (m.account, m.region) == (account, region) and now < m.appears_at
        }

    @contextmanager
    def without(self, hidden: set[str], account: str, region: str) -> Iterator[None]:
        """While this lasts, moto does not know of those."""
        reservations = ec2_backends[account][region].reservations
        taken = {
            name: held
            for name, held in reservations.items()
            if any(one.id in hidden for one in held.instances)
        }
        for name in taken:
            del reservations[name]
        try:
            yield
        finally:
            reservations.update(taken)

    def zone_of(self, account: str, region: str, subnet: str) -> str:
        """The zone of a subnet; empty where there is no such subnet."""
        known = ec2_backends[account][region].subnets
        return next((zone for zone, there in known.items() if subnet in there), "")

    def start(self, machine: Machine, failure: tuple[str, str] | None = None) -> bool:
        effective = machine.start(self.clock.now(), self.timing, failure=failure)
        if effective:
            self.script.take_room(machine.size, machine.zone)
            moto_instance = self._moto(machine.account, machine.region, machine.instance)
            moto_instance.start()
            moto_instance.launch_time = datetime.now(UTC)  # of the last start, unlike moto's
            self._show(machine)
        return effective

    def stop(self, machine: Machine, *, hibernate: bool, fails: bool = False) -> bool:
        now = self.clock.now()
        orders = machine.stop(now, self.timing, hibernate=hibernate, fails=fails)
        if orders:
            moto_instance = self._moto(machine.account, machine.region, machine.instance)
            moto_instance.stop()
            # What was asked for; whether the memory was kept EC2 does not know.
            _give_reason(moto_instance, *(HIBERNATED if hibernate else SHUT_DOWN))
            moto_instance._reason = f"User initiated ({datetime.now(UTC):%Y-%m-%d %H:%M:%S} GMT)"  # noqa: SLF001
            self._order(machine, orders)
            self._show(machine)
        return bool(orders)

    def terminate(self, machine: Machine) -> bool:
        """After moto has done so; it keeps the terminated instance in its records."""
        if machine.phase is not Phase.STOPPED:
            self.script.give_room(machine.size, machine.zone)
        orders = machine.terminate(self.clock.now(), self.timing)
        self._order(machine, orders)
        self._show(machine)
        return bool(orders)

    def advance(self) -> float | None:
        """Take every step that is due; returns our seconds until the next one."""
        now = self.clock.now()
        for machine in self.machines.values():
            if machine.due and machine.due[0][0] <= now and not self._runs_on(machine):
                before = machine.phase
                self._order(machine, machine.advance(now))
                if machine.phase is Phase.STOPPED and before is not Phase.STOPPED:
                    self.script.give_room(machine.size, machine.zone)
                    if machine.failure is not None:
                        moto_instance = self._moto(
                            machine.account, machine.region, machine.instance
                        )
                        moto_instance.stop()
                        _give_reason(moto_instance, *machine.failure)
                self._show(machine)
        soonest = min((m.due[0][0] for m in self.machines.values() if m.due), default=None)
        return None if soonest is None else max(_SOON, self.clock.ours(soonest - now))

    def _runs_on(self, machine: Machine) -> bool:
        """Whether its worker has yet to be ended, on a machine that is to be off."""
        if machine.due[0][1] is not Phase.STOPPED:
            return False
        if not machine.frozen and machine.instance not in self._ending:
            self._ending.add(machine.instance)
            self._order(machine, [Order.KILL])
        runs_on = self._workers.behind(machine.instance)
        if not runs_on:
            self._ending.discard(machine.instance)
        return runs_on

    def _is_seen(self, machine: Machine, account: str, region: str) -> bool:
        here = (machine.account, machine.region) == (account, region)
        return here and self.clock.now() >= machine.appears_at

    def _order(self, machine: Machine, orders: Iterable[Order]) -> None:
        for order in orders:
            self._workers.order(machine.instance, machine.address, order, machine.launch_token)

    def _show(self, machine: Machine) -> None:
        state = self._moto(machine.account, machine.region, machine.instance)._state  # noqa: SLF001
        state.name, state.code = str(machine.phase), machine.phase.code

    def _moto(self, account: str, region: str, instance: str) -> Any:
        return ec2_backends[account][region].get_instance(instance)


def _launch_token(marks: dict[str, str]) -> str:
    owner = tags.owner(marks)
    return "" if owner is None else launch_token(*owner)


def _give_reason(moto_instance: Any, code: str, words: str) -> None:
    moto_instance.state_reason.code = code
    moto_instance.state_reason.message = f"{code}: {words}"


def kind_of(account: str, region: str, size: str) -> dict[str, Any]:
    """What EC2 says of an instance type.

    Raises:
        Refusal: there is none of that name.
    """
    kinds: Iterator[dict[str, Any]] = iter(
        ec2_backends[account][region].describe_instance_types([size], {})
    )
    kind = next(kinds, None)
    if kind is None:
        raise Refusal(
            "InvalidParameterValue", f"Invalid value '{size}' for InstanceType.", status=400
        )
    return kind
