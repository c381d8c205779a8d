"""`satellite doctor` through a real door: it reaches a worker, and wakes none."""

from __future__ import annotations

import asyncio
import json

from click.testing import CliRunner

from torpor_router.cli.satellite import main


async def test_doctor_finds_a_worker_asleep_and_awake_and_not_another_orgs(torpor) -> None:
    deployment = await torpor()
    [node] = deployment.nodes
    satellite = await deployment.satellite("acme/one")

    async def last(*arguments: str, token: str = satellite.token) -> dict[str, str]:
        environment = {"TORPOR_ADDRESS": node.target, "TORPOR_TOKEN": token}
        done = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=environment)
        return json.loads(done.stdout)["checks"][-1]

    found = await last("doctor", "one", "--json")
    assert (found["check"], found["detail"]) == ("worker", "asleep: a build wakes it"), found
    assert deployment.wakes(satellite) == 0
    environment = {"TORPOR_ADDRESS": node.target, "TORPOR_TOKEN": satellite.token}
    await deployment.satellite_command("wake", "one", **environment)
    found = await last("doctor", "one", "--json")
    assert (found["check"], found["detail"]) == ("worker", "it answers"), found
    found = await last("doctor", "one", "--json", token=await deployment.token("globex"))
    assert (found["check"], found["ok"], found["code"]) == ("route", False, "TPR-2009")
