"""Calls of octets, without a service's generated stubs."""

from __future__ import annotations

from typing import Any

import grpc


def untyped(channel: grpc.aio.Channel | grpc.Channel) -> Any:
    """`channel`, whose calls take and give octets: grpc's types know none without serializers."""
    return channel
