"""Whatever a message can get wrong has its code; the rest is the lifecycle's say."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from torpor_provisioner.contract import Arch
from torpor_provisioner.errors import Status, TorporError
from torpor_router.control import parse
from torpor_router.control.errors import BadName
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.errors import BadSatellite
from torpor_statemachine.lifecycle.specs import Changes, NewSatellite
from torpor_statemachine.lifecycle.states import SleepMode

ORG = uuid4()


def read(request: pb.LaunchRequest) -> NewSatellite:
    return parse.new_satellite(request, ORG, default_provisioner="local")


def test_a_launch_that_says_nothing_gets_the_defaults() -> None:
    assert read(pb.LaunchRequest(name="one")) == NewSatellite(
        org_id=ORG, name="one", provisioner="local"
    )


def test_a_launch_gets_what_it_says() -> None:
    request = pb.LaunchRequest(
        name="one",
        provisioner="ec2",
        arch=pb.ARCH_ARM64,
        size="m7g.large",
        sleep_mode=pb.SLEEP_MODE_HIBERNATE,
        sleep_after=Duration(seconds=90),
        settings={"cache_gib": "500"},
    )
    assert read(request) == NewSatellite(
        org_id=ORG,
        name="one",
        provisioner="ec2",
        arch=Arch.ARM64,
        size="m7g.large",
        sleep_mode=SleepMode.HIBERNATE,
        sleep_after=timedelta(seconds=90),
        settings={"cache_gib": "500"},
    )


BAD_LAUNCHES = {
    "no name": ({"name": ""}, "TPR-1301"),
    "capitals": ({"name": "One"}, "TPR-1301"),
    "an outer hyphen": ({"name": "-one"}, "TPR-1301"),
    "two hyphens": ({"name": "one--two"}, "TPR-1301"),
    "41 letters": ({"name": "a" * 41}, "TPR-1301"),
    "another org's": ({"name": "globex/one"}, "TPR-1301"),
    "an end of line": ({"name": "one\n"}, "TPR-1301"),
    "an architecture": ({"arch": 99}, "TPR-1302"),
    "a sleep mode": ({"sleep_mode": 99}, "TPR-1302"),
    "a negative number": ({"arch": -1}, "TPR-1302"),
    "no time": ({"sleep_after": Duration()}, "TPR-2015"),
    "less than a second": ({"sleep_after": Duration(nanos=1)}, "TPR-2015"),
    "below nothing": ({"sleep_after": Duration(seconds=-60)}, "TPR-2015"),
    "over a year": ({"sleep_after": Duration(seconds=366 * 86400)}, "TPR-2015"),
    "no timedelta": ({"sleep_after": Duration(seconds=2**62)}, "TPR-2015"),
    "odd nanos": ({"sleep_after": Duration(seconds=5, nanos=2_000_000_000)}, "TPR-2015"),
    "signs at odds": ({"sleep_after": Duration(seconds=5, nanos=-1)}, "TPR-2015"),
    "a size of control": ({"size": "a\x1b[2J"}, "TPR-2015"),
    "a long size": ({"size": "a" * 101}, "TPR-2015"),
    "a setting without a name": ({"settings": {"": "1"}}, "TPR-2015"),
    "a setting with NUL": ({"settings": {"a": "\0"}}, "TPR-2015"),
    "65 settings": ({"settings": {f"k{n}": "" for n in range(65)}}, "TPR-2015"),
    "large settings": ({"settings": {f"k{n}": "x" * 12_000 for n in range(3)}}, "TPR-2015"),
}


@pytest.mark.parametrize("why", BAD_LAUNCHES)
def test_a_launch_that_cannot_be_meant(why: str) -> None:
    wrong, code = BAD_LAUNCHES[why]
    with pytest.raises(TorporError) as failed:
        read(pb.LaunchRequest(**{"name": "one", **wrong}))  # type: ignore[arg-type, dict-item]
    assert failed.value.code == code
    assert failed.value.status is Status.INVALID_ARGUMENT


@given(st.text(max_size=60))
def test_a_name_is_taken_as_the_database_takes_it_or_refused(text: str) -> None:
    try:
        taken = parse.name(text)
    except BadName:
        return
    assert NewSatellite(org_id=ORG, name=taken, provisioner="local").name == text


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_every_duration_is_read_or_refused(seconds: int, nanos: int) -> None:
    request = pb.LaunchRequest(name="one", sleep_after=Duration(seconds=seconds, nanos=nanos))
    try:
        sleep_after = read(request).sleep_after
    except BadSatellite:
        return
    assert sleep_after == timedelta(seconds=seconds, microseconds=nanos // 1000)


def test_an_update_tells_what_is_left_alone_from_what_is_emptied() -> None:
    assert parse.changes(pb.UpdateRequest(name="one", size="")) == Changes(size="")
    assert parse.changes(
        pb.UpdateRequest(name="one", sleep_mode=pb.SLEEP_MODE_STOP, settings={"worker": ""})
    ) == Changes(sleep_mode=SleepMode.STOP, settings={"worker": ""})


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (pb.UpdateRequest(name="one"), "TPR-1303"),
        (pb.UpdateRequest(name="one", sleep_mode=9), "TPR-1302"),  # type: ignore[arg-type]  # meant to be wrong
        (pb.UpdateRequest(name="one", sleep_after=Duration(seconds=0)), "TPR-2015"),
        (pb.UpdateRequest(name="one", size="\n"), "TPR-2015"),
    ],
)
def test_an_update_that_cannot_be_meant(request_: pb.UpdateRequest, code: str) -> None:
    with pytest.raises(TorporError) as failed:
        parse.changes(request_)
    assert failed.value.code == code


def test_so_many_transitions() -> None:
    assert parse.limit(0) == 50
    assert parse.limit(1000) == 1000
    for wrong in (-1, 1001):
        with pytest.raises(TorporError) as failed:
            parse.limit(wrong)
        assert failed.value.code == "TPR-1304"
