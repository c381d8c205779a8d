"""Webhooks and deliveries as messages of torpor.v1, in both directions."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from torpor_router.control.messages import read_time, time_message
from torpor_router.control.v1 import webhooks_pb2 as pb
from torpor_router.notices.webhooks import Delivery, Webhook


def webhook_message(webhook: Webhook) -> pb.Webhook:
    return pb.Webhook(
        id=str(webhook.id),
        org=webhook.org,
        name=webhook.name,
        format=webhook.format,
        kinds=webhook.kinds or (),
        host=webhook.host,
        made_at=time_message(webhook.made_at),
        tried_at=time_message(webhook.tried_at),
        result=webhook.result,
        failures=webhook.failures,
        waiting=webhook.waiting,
    )


def read_webhook(message: pb.Webhook) -> Webhook:
    return Webhook(
        id=UUID(message.id),
        org=message.org,
        name=message.name,
        format=message.format,
        kinds=list(message.kinds) or None,
        host=message.host,
        made_at=read_time(message.made_at),
        tried_at=_time(message, "tried_at"),
        result=message.result,
        failures=message.failures,
        waiting=message.waiting,
    )


def delivery_message(delivery: Delivery) -> pb.Delivery:
    return pb.Delivery(
        id=str(delivery.id),
        at=time_message(delivery.at),
        kind=delivery.kind,
        org=delivery.org,
        satellite=delivery.satellite,
        failure=delivery.failure,
        state=delivery.state,
        tries=delivery.tries,
        tried_at=time_message(delivery.tried_at),
        result=delivery.result,
    )


def read_delivery(message: pb.Delivery) -> Delivery:
    return Delivery(
        id=UUID(message.id),
        at=read_time(message.at),
        kind=message.kind,
        org=message.org,
        satellite=message.satellite,
        failure=message.failure,
        state=message.state,
        tries=message.tries,
        tried_at=_time(message, "tried_at"),
        result=message.result,
    )


def _time(message: Any, field: str) -> datetime | None:
    return read_time(getattr(message, field)) if message.HasField(field) else None
