"""What EC2 refuses, and what it does instead of moto. See the package's docstring for sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from werkzeug.wrappers import Response

from torpor_provisioner.faithful_ec2.machine import Machine, Phase
from torpor_provisioner.faithful_ec2.query import Query, Refusal, changed
from torpor_provisioner.faithful_ec2.script import Effect, Script
from torpor_provisioner.faithful_ec2.world import GIB, World, kind_of

INSTANCE = re.compile(r"<instanceId>(i-[0-9a-f]+)</instanceId>")
STARTABLE = frozenset({Phase.STOPPED, Phase.PENDING, Phase.RUNNING})
STOPPABLE = frozenset({Phase.RUNNING, Phase.STOPPING, Phase.STOPPED})
LARGEST_GIB = 150  # of memory, to hibernate


@dataclass(frozen=True, slots=True)
class Done:
    """An answer, and the machines on which there was an effect."""

    response: Response
    effective: list[str]


Pass = Callable[[], Response]  # have moto answer


class Rules:
    """Not for several threads at once: its owner holds a lock."""

    def __init__(self, world: World, script: Script) -> None:
        self._world = world
        self._script = script
        self._tokens: dict[tuple[str, str, str, str], tuple[Mapping[str, str], Response]] = {}

    def answer(self, query: Query, moto: Pass) -> Done:
        """Do what is asked.

        Raises:
            Refusal: EC2 would not.
        """
        known = {
            "RunInstances": self._run,
            "CreateVolume": self._create_volume,
            "StartInstances": self._start,
            "StopInstances": self._stop,
            "TerminateInstances": self._terminate,
            "DescribeInstances": self._describe,
            "ModifyInstanceAttribute": self._modify,
        }
        rule = known.get(query.action)
        return rule(query, moto) if rule else Done(moto(), [])

    def resources(self, query: Query) -> int:
        """How many a request names, or makes."""
        if query.action == "RunInstances":
            return int(query.form.get("MaxCount", "1"))
        return len(query.instances)

    def _run(self, query: Query, moto: Pass) -> Done:
        return self._once(query, moto, self._launch)

    def _create_volume(self, query: Query, moto: Pass) -> Done:
        return self._once(query, moto, lambda _, moto: Done(moto(), []))

    def _once(self, query: Query, moto: Pass, do: Callable[[Query, Pass], Done]) -> Done:
        token = query.form.get("ClientToken", "")
        key = (*query.key, token)
        if token and key in self._tokens:
            form, response = self._tokens[key]
            if form != query.form:
                raise Refusal(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used "
                    "in previous request(s).",
                )
            return Done(response, [])
        done = do(query, moto)
        if token and done.response.status_code == 200:
            self._tokens[key] = (query.form, done.response)
        return done

    def _launch(self, query: Query, moto: Pass) -> Done:
        size = query.form.get("InstanceType", "")
        kind = kind_of(query.account, query.region, size)
        zone = self._zone(query)
        if query.flag("HibernationOptions.Configured"):
            _can_be_set_up(kind, query)
        if not self._script.has_room(size, zone, self.resources(query)):
            raise Refusal(
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient {size} capacity in the Availability Zone "
                f"you requested ({zone}). Our system will be working on provisioning additional "
                f"capacity.",
                status=500,
            )
        response = moto()
        made = INSTANCE.findall(response.get_data(as_text=True))
        for instance in made if response.status_code == 200 else ():
            self._world.add(query.account, query.region, instance)
        return Done(response, made)

    def _zone(self, query: Query) -> str:
        subnet = query.form.get("NetworkInterface.1.SubnetId") or query.form.get("SubnetId", "")
        zone = self._world.zone_of(query.account, query.region, subnet)
        return zone or query.form.get("Placement.AvailabilityZone", f"{query.region}a")

    def _start(self, query: Query, _: Pass) -> Done:
        machines = self._world.of(query.account, query.region, query.instances)
        for machine in machines:
            if machine.phase not in STARTABLE:
                _wrong_state(machine, "is not in a state from which it can be started.")
        wanted: dict[tuple[str, str], int] = {}
        for machine in machines:
            if machine.phase is Phase.STOPPED:
                key = (machine.size, machine.zone)
                wanted[key] = wanted.get(key, 0) + 1
        for (size, zone), number in wanted.items():
            if not self._script.has_room(size, zone, number):
                raise Refusal("InsufficientInstanceCapacity", "Insufficient capacity.", status=500)

        def start(machine: Machine) -> bool:
            fault = self._script.next(Effect.STOP_AGAIN, query.action, [machine.instance])
            return self._world.start(machine, (fault.code, fault.message) if fault else None)

        return self._change(query, machines, start)

    def _stop(self, query: Query, _: Pass) -> Done:
        machines = self._world.of(query.account, query.region, query.instances)
        hibernate = query.flag("Hibernate")
        for machine in machines:
            if machine.phase not in STOPPABLE:
                _wrong_state(machine, "is not in a state from which it can be stopped.")
            if hibernate and machine.phase is Phase.RUNNING:
                self._can_hibernate(machine)

        def stop(machine: Machine) -> bool:
            fails = self._script.next(Effect.SHUT_DOWN, query.action, [machine.instance])
            return self._world.stop(machine, hibernate=hibernate, fails=fails is not None)

        return self._change(query, machines, stop)

    def _can_hibernate(self, machine: Machine) -> None:
        if not machine.configured:
            raise Refusal(
                "UnsupportedHibernationConfiguration",
                "The instance can't be hibernated because it was not configured at launch for "
                f"hibernation: {machine.instance}",
            )
        if self._world.clock.now() - machine.launched_at < self._world.timing.young:
            raise Refusal(
                "UnsupportedOperation",
                f"Instance {machine.instance} is not ready to hibernate yet, retry in a few "
                f"minutes",
            )

    def _terminate(self, query: Query, moto: Pass) -> Done:
        machines = self._world.of(query.account, query.region, query.instances)
        response = moto()
        effective = [m.instance for m in machines if self._world.terminate(m)]
        return Done(response, effective)

    def _change(self, query: Query, machines: list[Machine], do: Callable[[Machine], bool]) -> Done:
        changes, effective = [], []
        for machine in machines:
            before = machine.phase
            if do(machine):
                effective.append(machine.instance)
            changes.append((machine.instance, before, machine.phase))
        return Done(changed(query.action, changes), effective)

    def _describe(self, query: Query, moto: Pass) -> Done:
        if query.instances:
            self._world.of(query.account, query.region, query.instances)
            return Done(moto(), [])
        hidden = self._world.hidden(query.account, query.region)
        with self._world.without(hidden, query.account, query.region):
            return Done(moto(), [])

    def _modify(self, query: Query, moto: Pass) -> Done:
        [machine] = self._world.of(query.account, query.region, query.instances)
        size = query.form.get("InstanceType.Value")
        if size is None:
            return Done(moto(), [])
        if machine.phase is not Phase.STOPPED:
            _wrong_state(machine, "is not in the 'stopped' state.")
        if machine.frozen:
            raise Refusal(
                "UnsupportedOperation",
                f"The instance type of {machine.instance} can't be changed while it is hibernated",
            )
        kind = kind_of(query.account, query.region, size)
        response = moto()
        machine.size = size
        machine.memory_gib = kind["MemoryInfo"]["SizeInMiB"] / GIB
        return Done(response, [machine.instance])


def _wrong_state(machine: Machine, why: str) -> NoReturn:
    raise Refusal("IncorrectInstanceState", f"The instance '{machine.instance}' {why}")


def _can_be_set_up(kind: Mapping[str, Any], query: Query) -> None:
    """Whether hibernation may be configured in this launch."""
    size = query.form["InstanceType"]
    memory = kind["MemoryInfo"]["SizeInMiB"] / GIB
    root = "BlockDeviceMapping.1.Ebs."
    why = ""
    if not kind.get("HibernationSupported") or memory >= LARGEST_GIB:
        why = f"The instance type {size} does not support hibernation."
    elif not query.flag(root + "Encrypted"):
        why = "Hibernation requires an encrypted root volume."
    elif int(query.form.get(root + "VolumeSize", "8")) <= memory:
        why = "The root volume is not large enough to hold the memory of the instance."
    if why:
        raise Refusal("UnsupportedHibernationConfiguration", why)
