"""The few octets of a stream that the relay writes anew."""

from __future__ import annotations

from torpor_router.h2.blocks import encode
from torpor_router.relay import deadline
from torpor_router.relay.held import Held
from torpor_statemachine.gate import Admitted


def request_block(held: Held) -> bytes:
    """The request without what was for the door alone, every other field as it was written."""
    consumed = held.asked.consumed
    return b"".join(field.wire for field in held.fields if field.name not in consumed)


def late_request_block(held: Held, waited: float) -> bytes:
    """The same, with `grpc-timeout` less the seconds that the request was held."""
    if held.timeout is None:
        return request_block(held)
    gone = held.asked.consumed | {b"grpc-timeout"}
    kept = b"".join(field.wire for field in held.fields if field.name not in gone)
    return kept + encode(((b"grpc-timeout", deadline.encode(held.timeout - waited)),))


def wake_fields(held: Held, admitted: Admitted, waited: float) -> bytes:
    """What the first answer after a hold says of the wake."""
    assert held.route is not None
    wake = f"kind={admitted.wake_kind}; held={waited:.1f}s"
    satellite = f"{held.route.org}/{held.route.satellite}"
    return encode(((b"x-torpor-wake", wake.encode()), (b"x-torpor-satellite", satellite.encode())))
