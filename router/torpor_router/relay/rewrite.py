"""The few octets of a stream that the relay writes anew."""

from __future__ import annotations

from typing import Final

from torpor_router.h2 import wire
from torpor_router.h2.blocks import TABLE_SIZE_ZERO, encode
from torpor_router.relay import deadline
from torpor_router.relay.held import Held
from torpor_statemachine.gate import Admitted

_LATE: Final = 0.01  # seconds; a wait that long is taken off the request's deadline

TIMEOUT: Final = b"grpc-timeout"
ACCEPTED: Final = b"grpc-accept-encoding"


def without_consumed(held: Held) -> bytes:
    """The request without what was for the door alone, and without its timeout."""
    apart = held.target.consumed | {TIMEOUT}
    return b"".join([octets for name, _, octets, _ in held.fields if name not in apart])


def released(held: Held, rest: bytes, waited: float, *, first: bool, max_frame: int) -> bytes:
    """The HEADERS that the worker gets: `rest` and what is left of the timeout.

    `first` says that the worker has had no block yet: its table may be smaller than what it
    grants by default.
    """
    block = (TABLE_SIZE_ZERO if first else b"") + rest + timeout_left(held, waited)
    return wire.headers(held.stream, block, end_stream=held.ends_with_block, max_frame=max_frame)


def timeout_left(held: Held, waited: float) -> bytes:
    """The request's `grpc-timeout` field, less the seconds that it was held."""
    if waited < _LATE or held.timeout is None:
        return b"".join(octets for name, _, octets, _ in held.fields if name == TIMEOUT)
    return encode(((TIMEOUT, deadline.encode(held.timeout - waited)),))


def wake_fields(held: Held, admitted: Admitted, waited: float) -> bytes:
    """What the first answer after a hold says of the wake."""
    assert held.route is not None
    wake = f"kind={admitted.wake_kind}; held={waited:.1f}s"
    satellite = f"{held.route.org}/{held.route.satellite}"
    return encode(((b"x-torpor-wake", wake.encode()), (b"x-torpor-satellite", satellite.encode())))
