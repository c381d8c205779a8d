"""Five hundred machines woken at once, against what AWS's throttles allow."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ec2bench.stage import SIZE, START, Ec2

from torpor_provisioner.ec2 import Ec2Provisioner
from torpor_provisioner.ec2.actions import RESOURCES, Limit
from torpor_provisioner.ec2.environment import settings_from
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.errors import NotReady, Throttled
from torpor_provisioner.faithful_ec2.playing import played
from torpor_provisioner.faithful_ec2.stage import client
from torpor_provisioner.faithful_ec2.timing import Timing

CROWD = 500
ACCOUNT, REGION = "123456789012", "eu-west-1"


@dataclass(frozen=True)
class Rush:
    """Five hundred wakes at once, with so many tokens left in the account's bucket."""

    what: str
    left: int
    took: float
    requests: int
    refused: int

    @property
    def allowed(self) -> float:
        """Seconds until AWS's bucket has had a token for the last, refilled once a second."""
        return math.ceil(max(0, CROWD - self.left) / RESOURCES[START].rate)


async def rushes(folder: Path, left: int) -> list[Rush]:
    timing = asdict(Timing.short())
    with played(folder / "machines", worker="sleep 100000", timing=timing) as environ:
        os.environ.update(environ)
        ec2 = Ec2(environ)
        ec2.say("PUT", "limits", on=False)
        ec2.say("PUT", "timing", boot=1e9)  # no workers: this is about the calls
        machines = await asyncio.to_thread(_machines, ec2)
        ec2.say("PUT", "limits", on=True)
        published = int(RESOURCES[START].capacity)
        return [
            await _rush(ec2, machines, "full bucket", published, published),
            await _rush(ec2, machines, "used before, by this node", left, left),
            await _rush(ec2, machines, "used before, by others", left, published),
        ]


def _machines(ec2: Ec2) -> list[str]:
    """Launch them, and wait until they run; returns their ids."""
    plain = client(ec2.endpoint)
    told = plain.run_instances(
        ImageId=ec2.environ["TORPOR_EC2_IMAGE_X86_64"],
        InstanceType=SIZE,
        SubnetId=ec2.environ["TORPOR_EC2_SUBNETS"].split(",")[0],
        MinCount=CROWD,
        MaxCount=CROWD,
    )
    plain.close()
    names = [one["InstanceId"] for one in told["Instances"]]
    _wait(ec2, "running")
    return names


def _wait(ec2: Ec2, phase: str) -> None:
    while any(one["phase"] != phase for one in ec2.say("GET", "machines")):
        time.sleep(0.1)


async def _rush(ec2: Ec2, machines: Sequence[str], what: str, left: int, believed: int) -> Rush:
    ec2.say("DELETE", "script")
    await asyncio.to_thread(_stop_all, ec2, machines)
    published = RESOURCES[START]
    limits = {START: Limit(believed, published.rate)}
    provisioner = Ec2Provisioner(replace(settings_from(ec2.environ), resource_limits=limits))
    refs = [str(Ref(ACCOUNT, REGION, name)) for name in machines]
    await provisioner.observe(refs)  # so that it has its connection, as a node has
    spent = int(published.capacity) - left
    ec2.say("POST", "spent", account=ACCOUNT, region=REGION, action=START, resources=spent)
    since = time.monotonic()
    await asyncio.gather(*(_woken(provisioner, ref) for ref in refs))
    took = time.monotonic() - since
    await provisioner.aclose()
    calls = ec2.calls(since, START)
    started = [name for call in calls for name in call["effective"]]
    assert sorted(started) == sorted(machines), "each once"
    return Rush(what, left, took, len(calls), sum(bool(call["code"]) for call in calls))


def _stop_all(ec2: Ec2, machines: Sequence[str]) -> None:
    _wait(ec2, "running")
    plain = client(ec2.endpoint)
    plain.stop_instances(InstanceIds=list(machines))
    plain.close()
    _wait(ec2, "stopped")


async def _woken(provisioner: Ec2Provisioner, ref: str) -> None:
    """As the lifecycle does it: what passes is tried again."""
    pause = 0.25
    while True:
        try:
            return await provisioner.wake(ref)
        except (NotReady, Throttled):
            await asyncio.sleep(pause)
            pause = min(2 * pause, 10.0)
