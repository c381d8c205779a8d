"""What the node answers to calls that only look, in the place of a worker that sleeps."""

from __future__ import annotations

from typing import Any

import grpc

from torpor_router.dialects.last_answers import LastAnswers
from torpor_router.dialects.purpose import Purpose
from torpor_router.dialects.requests import purpose_of
from torpor_router.errors import LastAnswerGone
from torpor_router.peer_info import PeerInfo

GIVEN_AT = "x-torpor-last-answer"  # metadata: when the worker gave it, RFC 3339


class Looks(grpc.GenericRpcHandler):
    """For a grpc.aio server. The door has seen who asks, and that there is an answer."""

    def __init__(self, answers: LastAnswers) -> None:
        self._answers = answers

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if purpose_of(details.method.encode()) is not Purpose.LOOKS:
            return None
        peer = PeerInfo.read(dict(details.invocation_metadata))
        satellite_id, method = peer.satellite_id, details.method
        if satellite_id is None:
            return None

        async def answer(request: bytes, context: Any) -> bytes:  # noqa: ARG001 - gRPC's signature
            found = await self._answers.find(satellite_id, method)
            if found is None:
                gone = LastAnswerGone()
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(gone))
                raise gone
            await context.send_initial_metadata(((GIVEN_AT, found.at.isoformat()),))
            return found.octets

        return grpc.unary_unary_rpc_method_handler(answer)
