"""A client, a worker and the node's services on one connection count the same octets to the last.

Windows from none to large, changed up and down under way, padding, streams that end and are reset
at any point, reads cut anywhere: a side that keeps to the windows is kept to them, every octet
arrives, and in the end both ends of each connection agree on what may still be sent.
"""

from __future__ import annotations

import pytest
from doorkit.core import REQUEST, frames
from relayfuzz.bench import Bench
from relayfuzz.honest import Honest

from torpor_router.h2 import wire
from torpor_router.h2.blocks import encode
from torpor_router.h2.wire import ErrorCode, Kind

TO_NODE = encode(
    (name, b"/torpor.v1.S/L" if name == b":path" else value)
    for name, value in REQUEST
    if name != b"satellite"
)


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_the_windows_are_true_to_the_octet(first):
    for seed in range(first, first + 25):
        Honest(seed).run()


@pytest.mark.parametrize("seed", [1_271, 1_453, 2_589, 4_164, 5_175])
def test_a_client_that_has_not_read_our_settings_yet(seed):
    """It may send what the default window takes, and its worker takes less."""
    Honest(seed).run()


@pytest.mark.slow
def test_the_windows_are_true_to_the_octet_for_long():
    for seed in range(1_000, 6_000):
        Honest(seed).run()


@pytest.mark.parametrize("first", ["client", "node"])
def test_the_node_is_told_of_an_upload_that_it_never_gets(first):
    """Both ends have ended the call, and its DATA still waits for the node's window: without
    RST_STREAM the node would have it open until the connection ends."""
    bench = Bench()
    bench.from_client(wire.settings(()) + wire.headers(1, TO_NODE, end_stream=False))
    bench.connect_node()
    bench.from_node(wire.settings([(4, 0)]))
    upload = wire.frame(Kind.DATA, wire.END_STREAM, 1, b"too late")
    answer = wire.headers(1, encode(((b"grpc-status", b"0"),)), end_stream=True)
    if first == "client":
        bench.from_client(upload)
        bench.from_node(answer)
    else:
        bench.from_node(answer)
        bench.from_client(upload)
    assert not bench.pair.streams.states
    told = frames(bytes(bench.node.octets).removeprefix(wire.PREFACE))
    (reset,) = [payload for kind, _, stream, payload in told if kind == Kind.RST_STREAM]
    assert wire.u32(reset, 0) == ErrorCode.CANCEL
