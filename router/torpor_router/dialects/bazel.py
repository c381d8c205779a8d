"""Bazel: remote execution, the build event service, and calls that leave its headers out.

Some versions leave ``--remote_header`` out of some calls; 2.1 for one out of GetCapabilities, the
call that every build begins with, so it names no satellite and shows no token. The node answers
it then, with the least that every remote cache and executor has in common; what is asked next
carries the headers.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from torpor_router.dialects.messages.bazel_pb2 import (
    PublishBuildToolEventStreamRequest,
    PublishBuildToolEventStreamResponse,
    RequestMetadata,
)
from torpor_router.dialects.purpose import Purpose
from torpor_router.errors import NoHeader

SERVICES = (b"/build.bazel.", b"/google.devtools.build.", b"/google.bytestream.")
NO_CREDENTIALS = NoHeader

_EVENTS = b"/google.devtools.build.v1.PublishBuildEvent/"

PURPOSES = {
    _EVENTS + b"PublishLifecycleEvent": Purpose.TELLS,
    _EVENTS + b"PublishBuildToolEventStream": Purpose.REPORTS,
}

# In the metadata of every call of one build but the build event service's
REQUEST_METADATA = b"build.bazel.remote.execution.v2.requestmetadata-bin"

CAPABILITIES = b"/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
FORGETFUL = (b"/google.bytestream.ByteStream/", b"/build.bazel.remote.")

# build.bazel.remote.execution.v2.ServerCapabilities, in protobuf's own octets
SERVER_CAPABILITIES = bytes.fromhex(
    "0a07"  # cache_capabilities, 7 octets:
    "0a0101"  # digest_functions [SHA256]
    "12020801"  # action_cache_update_capabilities {update_enabled: true}
    "1204"  # execution_capabilities, 4 octets:
    "08011001"  # digest_function SHA256, exec_enabled
    "22020802"  # low_api_version {major: 2}
    "2a020802"  # high_api_version {major: 2}
)


def build(value: bytes) -> str | None:
    """The build that `REQUEST_METADATA` names: Bazel's invocation id."""
    try:
        # gRPC's "-bin" is base64, padded or not; between peers that agreed on it, the octets
        octets = b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except ValueError:
        octets = value
    try:
        return RequestMetadata.FromString(octets).tool_invocation_id or None
    except DecodeError:
        return None


def acknowledgement(event: bytes) -> bytes:
    """What the build event service answers to a message of a stream; empty to what is none."""
    try:
        ordered = PublishBuildToolEventStreamRequest.FromString(event).ordered_build_event
    except DecodeError:
        return b""
    return PublishBuildToolEventStreamResponse(
        stream_id=ordered.stream_id, sequence_number=ordered.sequence_number
    ).SerializeToString()


class Capabilities(grpc.GenericRpcHandler):
    """GetCapabilities among the node's own services, for a grpc.aio server."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if details.method != CAPABILITIES.decode():
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:  # noqa: ARG002 - gRPC's signature
        return SERVER_CAPABILITIES
