"""What Bazel asks first, answered for a satellite that cannot be told yet.

Older Bazels (2.1 for one) leave their ``--remote_header`` out of GetCapabilities, the call that
every build begins with, so it names no satellite and shows no token. The answer is the least
that every remote cache and executor has in common; whatever is asked next carries the headers.
It wakes nothing and binds the connection to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor_router.h2 import wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO, encode
from torpor_router.h2.wire import ErrorCode, Kind

if TYPE_CHECKING:
    from torpor_router.relay.pair import Pair

# build.bazel.remote.execution.v2.ServerCapabilities, in protobuf's own octets
_SERVER_CAPABILITIES = bytes.fromhex(
    "0a07"  # cache_capabilities, 7 octets:
    "0a0101"  # digest_functions [SHA256]
    "12020801"  # action_cache_update_capabilities {update_enabled: true}
    "1204"  # execution_capabilities, 4 octets:
    "08011001"  # digest_function SHA256, exec_enabled
    "22020802"  # low_api_version {major: 2}
    "2a020802"  # high_api_version {major: 2}
)
_MESSAGE = b"\x00" + len(_SERVER_CAPABILITIES).to_bytes(4, "big") + _SERVER_CAPABILITIES
SIZE = len(_MESSAGE)  # octets of DATA
_HEADERS = TABLE_SIZE_ZERO + b"\x88" + encode(((b"content-type", b"application/grpc"),))
_TRAILERS = encode(((b"grpc-status", b"0"),))


def serve(pair: Pair, stream: int, *, ended: bool) -> None:
    """Answer in the worker's place, at the cost of the connection if its window cannot tell."""
    pair.client.forgive(stream)
    exact = pair.flow.afford(SIZE)
    pair.tell_client(answer(stream, ended=ended))
    if not exact:
        pair.retire("the rest needs a connection whose window is untouched")


def answer(stream: int, *, ended: bool) -> bytes:
    """The whole response; a client that has not `ended` its request need not go on."""
    return (
        wire.headers(stream, _HEADERS, end_stream=False)
        + wire.frame(Kind.DATA, 0, stream, _MESSAGE)
        + wire.headers(stream, _TRAILERS, end_stream=True)
        + (b"" if ended else wire.rst_stream(stream, ErrorCode.NO_ERROR))
    )
