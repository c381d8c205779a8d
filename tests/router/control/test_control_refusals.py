"""Whom the API turns away, and what it tells of a request that it cannot serve."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from controlkit.fakes import ACME, GLOBEX, asleep
from waiting import LONG

from torpor_provisioner.errors import Capacity
from torpor_router.control.adapter import SATELLITES
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_statemachine.postgres.pool import DatabaseAway

REQUESTS: dict[str, Any] = {
    "Launch": pb.LaunchRequest(name="new"),
    "List": pb.ListRequest(),
    "Get": pb.GetRequest(name="one"),
    "Update": pb.UpdateRequest(name="one", size="large"),
    "Repair": pb.RepairRequest(name="one"),
    "Terminate": pb.TerminateRequest(name="one"),
    "Wake": pb.WakeRequest(name="one"),
    "Sleep": pb.SleepRequest(name="one"),
    "Follow": pb.FollowRequest(name="one"),
    "Transitions": pb.TransitionsRequest(name="one"),
    "Explain": pb.ExplainRequest(name="one"),
}
NAMED = sorted(set(REQUESTS) - {"Launch", "List"})


def test_every_method_of_the_service_is_tried_here() -> None:
    assert [method.name for method in SATELLITES.methods if method.name not in REQUESTS] == []


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer wrong"),),
        (("authorization", "Basic acme"),),
        (("authorization", "Bearer"),),
        (("authorization", "acme"),),
        (("satellite_token", ""),),
        (("satellite_token", "wrong"), ("authorization", "Bearer acme")),
        (("authorization", "Bearer wrong"), ("authorization", "Bearer acme")),
        (("satellite_token", "a" * 5000),),
    ],
    ids=str,
)
async def test_strangers_are_turned_away(control, code, method, metadata) -> None:
    house = await control(asleep())
    error = await house.refused(method, REQUESTS[method], metadata=metadata)
    assert (error.code(), code(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TPR-1003")
    assert house.fleet.asked == []


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Bearer acme"),),
        (("authorization", "bearer  acme"),),
        (("satellite_token", "acme"), ("authorization", "Basic for-somebody-else")),
    ],
    ids=str,
)
async def test_a_token_comes_as_at_the_door(control, metadata) -> None:
    house = await control(asleep())
    reply = await house.stub.Get(pb.GetRequest(name="one"), metadata=metadata, timeout=LONG)
    assert reply.satellite.name == "one"


@pytest.mark.parametrize("method", NAMED)
async def test_another_orgs_satellite_is_as_unknown_as_none(control, code, method) -> None:
    house = await control(asleep("one", GLOBEX), asleep("mine", ACME))
    error = await house.refused(method, REQUESTS[method])
    assert (error.code(), code(error)) == (grpc.StatusCode.NOT_FOUND, "TPR-2009")
    assert house.fleet.asked == []


@pytest.mark.parametrize("method", NAMED)
async def test_a_name_that_cannot_be(control, code, method) -> None:
    house = await control(asleep())
    request = type(REQUESTS[method])()
    request.CopyFrom(REQUESTS[method])
    request.name = "globex/one"
    error = await house.refused(method, request)
    assert (error.code(), code(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "TPR-1301")


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_database_that_is_away_is_told_as_such(control, code, method) -> None:
    house = await control(asleep())
    house.fleet.failure = DatabaseAway("ConnectionRefusedError")
    error = await house.refused(method, REQUESTS[method])
    assert (error.code(), code(error)) == (grpc.StatusCode.UNAVAILABLE, "TPR-5205")


@pytest.mark.parametrize("method", REQUESTS)
async def test_what_nobody_expected_is_logged_and_not_told(control, code, method, caplog) -> None:
    house = await control(asleep())
    house.callers.failure = ZeroDivisionError("secret")
    error = await house.refused(method, REQUESTS[method])
    assert (error.code(), code(error)) == (grpc.StatusCode.INTERNAL, "TPR-5301")
    assert "secret" not in (error.details() or "")
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_long_detail_is_cut_and_the_remedy_kept(control) -> None:
    house = await control(asleep())
    house.fleet.failure = Capacity("ö" * 100_000)
    error = await house.refused("Get", pb.GetRequest(name="one"))
    assert "öö..." in error.details()
    assert error.details().endswith(Capacity.remedy)


@pytest.mark.parametrize(
    ("octets", "told"), [(100_000, "TPR-5303"), (5_000_000, "larger than max")]
)
async def test_a_request_too_large_is_refused(control, octets: int, told: str) -> None:
    house = await control(asleep())
    request = pb.LaunchRequest(name="new", settings={"a": "x" * octets})
    error = await house.refused("Launch", request)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told in error.details()
    assert house.fleet.asked == []


async def test_metadata_too_large_is_refused(control) -> None:
    """By gRPC itself; what came through the door has been refused there, with a code."""
    house = await control(asleep())
    metadata = (*house.token, ("x-much", "x" * 30_000))
    error = await house.refused("Get", REQUESTS["Get"], metadata=metadata)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
