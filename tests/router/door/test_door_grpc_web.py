"""gRPC-Web wakes nothing, and a browser can show why."""

from __future__ import annotations

import pytest
from h2.events import DataReceived, StreamEnded

AUTHORITY = (":authority", "two--acme.door.test")
TO_TWO = (("satellite", "acme/two"), ("authorization", "Bearer secret"))
KINDS = (
    *("application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"),
    *("application/grpc-web-text", "application/grpc-web-text+proto; charset=utf-8"),
)


async def answered(raw, until, *fields: tuple[str, str]) -> tuple[dict[str, str], str]:
    client = await raw()
    client.h2.send_headers(1, [*fields], end_stream=True)
    client.flush()
    await until(lambda: client.of(StreamEnded, 1))
    body = b"".join(each.data for each in client.of(DataReceived, 1))
    return client.answer(1), body.decode()


@pytest.mark.parametrize("kind", KINDS)
async def test_grpc_web_is_refused_and_wakes_nothing(house, raw, until, kind):
    call = (":method", "POST"), (":scheme", "https"), (":path", "/t.T/Unary"), AUTHORITY
    answer, body = await answered(
        raw, until, *call, ("content-type", kind), ("origin", "https://app.test"), *TO_TWO
    )
    assert answer[":status"] == "415"
    assert answer["x-torpor-code"] == "TPR-1009"
    assert answer["access-control-allow-origin"] == "*"  # without it the page may not read it
    assert body.startswith("TPR-1009 ")
    assert house.gate.entered + house.gate.waited == 0


async def test_a_preflight_passes_so_that_the_call_hears_it(house, raw, until):
    answer, body = await answered(
        raw,
        until,
        *((":method", "OPTIONS"), (":scheme", "https"), (":path", "/t.T/Unary"), AUTHORITY),
        ("origin", "https://app.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,satellite,x-grpc-web"),
    )
    assert answer[":status"] == "200"  # any other ends as a CORS failure, and the text is not shown
    assert answer["access-control-allow-origin"] == "*"
    assert answer["access-control-allow-methods"] == "POST"
    assert answer["access-control-allow-headers"] == "*, authorization"  # which * leaves out
    assert answer["x-torpor-code"] == "TPR-1009"
    assert body.startswith("TPR-1009 ")
    assert house.gate.entered + house.gate.waited == 0


@pytest.mark.parametrize(
    "kind", ["application/grpc", "application/grpc+proto", "application/grpc;a"]
)
async def test_grpc_itself_is_relayed(house, worker, raw, until, kind):
    client = await raw()
    call = (":method", "POST"), (":scheme", "http"), (":path", "/t.T/Unary"), AUTHORITY
    to_one = ("satellite", "acme/one"), ("authorization", "Bearer secret"), ("te", "trailers")
    client.h2.send_headers(1, [*call, ("content-type", kind), *to_one])
    client.flush()
    await until(lambda: house.gate.entered == 1)


async def test_what_only_begins_so_is_no_grpc(house, raw, until):
    call = (":method", "POST"), (":scheme", "http"), (":path", "/t.T/Unary"), AUTHORITY
    answer, _ = await answered(raw, until, *call, ("content-type", "application/grpcx"), *TO_TWO)
    assert (answer[":status"], answer["x-torpor-code"]) == ("415", "TPR-1007")
