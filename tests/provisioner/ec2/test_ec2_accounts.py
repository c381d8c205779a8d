"""Machines in accounts of their own: entered by a role, with an external id, again and again."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from torpor_provisioner.contract import Arch, MachineState, SleepKind
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.ec2.settings import Ec2Settings, Place
from torpor_provisioner.errors import Denied, Gone
from torpor_provisioner.faithful_ec2.server import FaithfulEc2
from torpor_provisioner.faithful_ec2.stage import Stage, set_up

ACCOUNT = "210987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/torpor"
OWN = "123456789012"


@pytest.fixture
def theirs(stage: Stage, faithful: FaithfulEc2, settings: Ec2Settings) -> Place:
    """A place in the customer's account; its role asks for the external id "acme-secret"."""
    there = set_up(stage.endpoint, account=ACCOUNT)
    faithful.front.trust[ROLE] = "acme-secret"
    faithful.front.calls.entries.clear()
    return replace(
        settings.place,
        subnets=there.subnets,
        security_groups=(there.security_group,),
        role_arn=ROLE,
        external_id="acme-secret",
    )


async def test_an_orgs_machines_live_in_its_account(ec2, spec, theirs, drive, faithful) -> None:
    one, other = ec2(orgs={"acme": theirs}), ec2(orgs={"acme": theirs})
    ref = await drive.asleep(one, spec(org="acme"))
    ours = await one.launch(spec(org="globex"), uuid4().hex)
    assert Ref.parse(ref).account == ACCOUNT
    assert Ref.parse(ours).account == OWN
    await other.wake(ref)
    await drive.becomes(other, ref, MachineState.RUNNING)
    await drive.becomes(one, ours, MachineState.RUNNING)
    seen = await other.observe([ref, ours])
    assert {one.state for one in seen.values()} == {MachineState.RUNNING}
    assert set(await other.owned()) == {ref, ours}
    accounts = {call.account for call in faithful.front.calls.of("RunInstances")}
    assert accounts == {ACCOUNT, OWN}


async def test_a_role_is_assumed_once_a_node(ec2, spec, theirs, drive, faithful) -> None:
    one = ec2(orgs={"acme": theirs})
    for _ in range(3):
        await drive.running(one, spec(org="acme"))
    assert len(faithful.front.calls.of("AssumeRole")) == 1


async def test_credentials_are_renewed_before_they_end(ec2, spec, theirs, drive, faithful) -> None:
    """botocore renews them when less than 15 minutes are left."""
    one = ec2(orgs={"acme": theirs})
    with drive.timing(session=600.0):
        ref = await drive.running(one, spec(org="acme"))
    assert len(faithful.front.calls.of("AssumeRole")) > 1
    await drive.ready(one.sleep, ref, SleepKind.STOPPED)
    renewed = len(faithful.front.calls.of("AssumeRole"))
    await drive.becomes(one, ref, MachineState.ASLEEP)
    assert len(faithful.front.calls.of("AssumeRole")) == renewed, "an hour's are enough"


async def test_the_wrong_external_id_is_denied_and_not_told(ec2, spec, theirs, faithful) -> None:
    one = ec2(orgs={"acme": replace(theirs, external_id="a-guess")})
    with pytest.raises(Denied, match="AssumeRole: AccessDenied") as refused:
        await one.launch(spec(org="acme"), uuid4().hex)
    assert "a-guess" not in str(refused.value)
    assert not faithful.front.calls.of("RunInstances")
    assert "a-guess" not in repr(one)


async def test_one_account_that_is_denied_does_not_stop_another(ec2, spec, theirs, drive) -> None:
    one = ec2(orgs={"acme": replace(theirs, external_id="a-guess")})
    await drive.running(one, spec(org="globex"))


async def test_without_a_place_in_its_account_a_machine_is_gone(ec2, spec, theirs, drive) -> None:
    ref = await drive.running(ec2(orgs={"acme": theirs}), spec(org="acme"))
    stranger = ec2()
    assert (await stranger.observe([ref]))[ref].state is MachineState.GONE
    with pytest.raises(Gone, match=ACCOUNT):
        await stranger.wake(ref)


async def test_all_machines_may_live_in_one_other_account(ec2, spec, theirs, drive) -> None:
    one = ec2(place=theirs)
    ref = await drive.asleep(one, spec(org="anyone"))
    assert Ref.parse(ref).account == ACCOUNT
    with pytest.raises(Gone):
        await one.wake(str(Ref.parse(ref)._replace(account=OWN)))


async def test_an_org_may_live_in_another_region(ec2, spec, stage, settings, drive) -> None:
    there = set_up(stage.endpoint, "us-east-1")
    place = replace(
        settings.place,
        region="us-east-1",
        subnets=there.subnets,
        security_groups=(there.security_group,),
    )
    images = {Arch(arch): image for arch, image in there.images.items()}
    one = ec2(orgs={"acme": place}, images=images)
    ref = await drive.running(one, spec(org="acme"))
    assert Ref.parse(ref).region == "us-east-1"
    assert ref in await one.owned()


async def test_two_deployments_in_one_account_do_not_see_each_other(ec2, spec, drive) -> None:
    one, other = ec2(), ec2(deployment="another")
    ref = await drive.running(one, spec())
    assert ref not in await other.owned()
    assert ref in await one.owned()
