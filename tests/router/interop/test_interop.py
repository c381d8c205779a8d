"""gRPC's own interop cases, through the door: each hot and cold, and with both Python clients.

The cases are those of grpc/doc/interop-test-descriptions.md; a test is named for its case, and
its numbers are the case's.
"""

from __future__ import annotations

import asyncio

import grpc
import pytest
from doorkit.interop import ECHO_INITIAL, ECHO_TRAILING, payload
from doorkit.testing import test_service_pb2 as pb

OK = grpc.StatusCode.OK
REQUEST_SIZES = (27_182, 8, 1_828, 45_904)
RESPONSE_SIZES = (31_415, 9, 2_653, 58_979)
# their client gives up so soon that the door may never hear of the call
MAY_BE_OVER_FIRST = ("test_cancel_after_begin", "test_timeout_on_sleeping_server")
LARGE = pb.SimpleRequest(response_size=314_159, payload=payload(271_828))


@pytest.fixture(autouse=True)
def tempered(request, door, temper):
    """Afterwards: a cold case must have been held, a hot one must not."""
    yield
    if temper == "hot":
        assert door.gate.waited == 0
    elif request.node.originalname not in MAY_BE_OVER_FIRST:
        assert door.gate.waited


def sizes(responses):
    return tuple(len(each.payload.body) for each in responses)


def output(*response_sizes, request_size=None):
    parameters = [pb.ResponseParameters(size=each) for each in response_sizes]
    request = pb.StreamingOutputCallRequest(response_parameters=parameters)
    if request_size is not None:
        request.payload.CopyFrom(payload(request_size))
    return request


async def test_empty_unary(caller):
    done = await caller.unary("TestService.EmptyCall", pb.Empty())
    assert done.code is OK
    assert done.responses == [pb.Empty()]


async def test_large_unary(caller):
    done = await caller.unary("TestService.UnaryCall", LARGE)
    assert done.code is OK
    assert done.responses == [pb.SimpleResponse(payload=payload(314_159))]


async def test_client_streaming(caller):
    requests = [pb.StreamingInputCallRequest(payload=payload(size)) for size in REQUEST_SIZES]
    done = await caller.upload("TestService.StreamingInputCall", requests)
    assert done.code is OK
    assert done.responses[0].aggregated_payload_size == 74_922


async def test_server_streaming(caller):
    done = await caller.download("TestService.StreamingOutputCall", output(*RESPONSE_SIZES))
    assert done.code is OK
    assert sizes(done.responses) == RESPONSE_SIZES


async def test_ping_pong(caller):
    talk = await caller.talk("TestService.FullDuplexCall")
    for asked, answered in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True):
        await talk.send(output(answered, request_size=asked))
        assert len((await talk.receive()).payload.body) == answered
    await talk.half_close()
    done = await talk.outcome()
    assert done.code is OK
    assert sizes(done.responses) == RESPONSE_SIZES


async def test_empty_stream(caller):
    talk = await caller.talk("TestService.FullDuplexCall")
    await talk.half_close()
    done = await talk.outcome()
    assert done.code is OK
    assert done.responses == []


async def test_cancel_after_begin(caller, service, until):
    done = await caller.cancel_upload("TestService.StreamingInputCall")
    assert done.code is grpc.StatusCode.CANCELLED
    await until(lambda: not service.open)


async def test_cancel_after_first_response(caller, service, until):
    talk = await caller.talk("TestService.FullDuplexCall")
    await talk.send(output(31_415, request_size=27_182))
    assert len((await talk.receive()).payload.body) == 31_415
    talk.cancel()
    done = await talk.outcome()
    assert done.code is grpc.StatusCode.CANCELLED
    await until(lambda: not service.open)  # it was never half-closed


async def test_timeout_on_sleeping_server(caller, service, until):
    talk = await caller.talk("TestService.FullDuplexCall", within=0.001)
    if caller.name != "grpc.aio":  # which says INTERNAL where its deadline passes in a write
        await talk.send(output(request_size=27_182))
    done = await talk.outcome()
    assert done.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: not service.open)


async def test_status_code_and_message(caller):
    status = pb.EchoStatus(code=2, message="test status message")
    done = await caller.unary("TestService.UnaryCall", pb.SimpleRequest(response_status=status))
    check_status(done, status)
    check_status(await duplex_status(caller, status), status)


async def test_special_status_message(caller):
    message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    status = pb.EchoStatus(code=2, message=message)
    done = await caller.unary("TestService.UnaryCall", pb.SimpleRequest(response_status=status))
    check_status(done, status)


async def duplex_status(caller, status):
    talk = await caller.talk("TestService.FullDuplexCall")
    await talk.send(pb.StreamingOutputCallRequest(response_status=status))
    await talk.half_close()
    return await talk.outcome()


def check_status(done, status):
    assert done.code is grpc.StatusCode.UNKNOWN
    assert done.code.value[0] == status.code
    assert done.details == status.message


async def test_custom_metadata(caller):
    metadata = ((ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, b"\xab\xab\xab"))
    unary = await caller.unary("TestService.UnaryCall", LARGE, metadata)
    talk = await caller.talk("TestService.FullDuplexCall", metadata)
    await talk.send(output(314_159, request_size=271_828))
    await talk.half_close()
    duplex = await talk.outcome()
    for done in (unary, duplex):
        assert done.code is OK
        assert done.initial[ECHO_INITIAL] == "test_initial_metadata_value"
        assert done.trailing[ECHO_TRAILING] == b"\xab\xab\xab"
        assert sizes(done.responses) == (314_159,)


async def test_unimplemented_method(caller):
    done = await caller.unary("TestService.UnimplementedCall", pb.Empty())
    assert done.code is grpc.StatusCode.UNIMPLEMENTED
    assert "TPR" not in done.details


async def test_unimplemented_service(caller):
    done = await caller.unary("UnimplementedService.UnimplementedCall", pb.Empty())
    assert done.code is grpc.StatusCode.UNIMPLEMENTED
    assert "TPR" not in done.details


async def test_concurrent_large_unary(caller):
    calls = (caller.unary("TestService.UnaryCall", LARGE) for _ in range(20))
    for done in await asyncio.gather(*calls):
        assert done.code is OK
        assert sizes(done.responses) == (314_159,)
