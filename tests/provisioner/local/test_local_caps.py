"""How many satellites an org may have on the router's machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from localkit.machines import IDLE

from torpor_provisioner.contract import SleepKind
from torpor_provisioner.local import LocalSettings
from torpor_provisioner.local.errors import TooManySatellites
from torpor_provisioner.local.settings import MAX_SATELLITES


async def test_an_org_has_so_many_and_no_more(local, spec) -> None:
    provisioner = local(IDLE, max_satellites=2)
    one = await provisioner.launch(spec(name="one"), "one")
    await provisioner.launch(spec(name="two"), "two")
    await provisioner.sleep(one, SleepKind.STOPPED)
    with pytest.raises(TooManySatellites, match=r"TPR-2212 .*: acme has 2 of its 2") as refused:
        await provisioner.launch(spec(name="three"), "three")
    assert "TORPOR_LOCAL_MAX_SATELLITES" in refused.value.remedy
    assert await provisioner.launch(spec(name="one"), "one") == one, "it is there already"
    await provisioner.launch(replace(spec(name="one"), org="globex"), "another org's")
    await provisioner.terminate(one)
    await provisioner.launch(spec(name="three"), "three")


async def test_launches_at_once_do_not_pass_it_together(local, spec) -> None:
    nodes = [local(IDLE, max_satellites=3) for _ in range(2)]
    launched = await asyncio.gather(
        *(node.launch(spec(name=f"s{n}"), f"{n}") for n, node in enumerate(nodes * 4)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, str) for each in launched) == 3
    assert sum(isinstance(each, TooManySatellites) for each in launched) == 5
    assert len(await nodes[0].owned()) == 3


def test_there_is_a_limit_unless_the_operator_wants_none() -> None:
    def most(**environ: str) -> int:
        return LocalSettings.from_environment(environ).max_satellites

    assert most() == MAX_SATELLITES > 0
    assert most(TORPOR_LOCAL_MAX_SATELLITES="500") == 500
    assert most(TORPOR_LOCAL_MAX_SATELLITES="0") == 0


async def test_none_is_no_limit(local, spec) -> None:
    provisioner = local("true", max_satellites=0)
    for number in range(MAX_SATELLITES + 1):
        await provisioner.launch(spec(name=f"s{number}"), f"{number}")
    assert len(await provisioner.owned()) == MAX_SATELLITES + 1
