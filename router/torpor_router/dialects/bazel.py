"""Bazel's calls that leave out its ``--remote_header``, in some version or other.

Older Bazels (2.1 for one) leave it out of GetCapabilities, the call that every build begins with,
so it names no satellite and shows no token. The node answers it then, with the least that every
remote cache and executor has in common; what is asked next carries the headers.
"""

from __future__ import annotations

from typing import Any

import grpc

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


class Capabilities(grpc.GenericRpcHandler):
    """GetCapabilities among the node's own services, for a grpc.aio server."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if details.method != CAPABILITIES.decode():
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:  # noqa: ARG002 - gRPC's signature
        return SERVER_CAPABILITIES
