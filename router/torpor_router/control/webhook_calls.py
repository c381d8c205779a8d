"""Each call of torpor.v1.Webhooks, apart from gRPC: a caller and a request in, a reply out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from torpor_router.access.audit import State
from torpor_router.access.errors import TokenForOthers
from torpor_router.control.ports import Caller
from torpor_router.control.v1 import webhooks_pb2 as pb
from torpor_router.control.webhook_messages import delivery_message, webhook_message
from torpor_router.notices.errors import UnknownWebhook
from torpor_router.notices.webhooks import Webhooks

_LISTED = 20  # deliveries, unless said


class WebhookCalls:
    """Named as in the .proto, in lower case. All raise TorporError."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def addwebhook(
        self, caller: Caller, request: pb.AddWebhookRequest
    ) -> pb.WebhookSecretReply:
        _check_whole_org(caller)
        made, secret = await self._webhooks.add(
            caller.org,
            request.name,
            request.url,
            form=request.format or "json",
            kinds=request.kinds,
        )
        return pb.WebhookSecretReply(webhook=webhook_message(made), secret=secret)

    async def listwebhooks(self, caller: Caller, _: pb.ListWebhooksRequest) -> pb.ListWebhooksReply:
        _check_whole_org(caller)
        found = await self._webhooks.all(caller.org)
        return pb.ListWebhooksReply(webhooks=map(webhook_message, found))

    async def removewebhook(
        self, caller: Caller, request: pb.RemoveWebhookRequest
    ) -> pb.RemoveWebhookReply:
        _check_whole_org(caller)
        removed = await self._webhooks.remove(caller.org, request.name)
        return pb.RemoveWebhookReply(webhook=webhook_message(removed))

    async def rotatewebhook(
        self, caller: Caller, request: pb.RotateWebhookRequest
    ) -> pb.WebhookSecretReply:
        _check_whole_org(caller)
        rotated, secret = await self._webhooks.rotate(caller.org, request.name)
        return pb.WebhookSecretReply(webhook=webhook_message(rotated), secret=secret)

    async def testwebhook(
        self, caller: Caller, request: pb.TestWebhookRequest
    ) -> pb.TestWebhookReply:
        _check_whole_org(caller)
        return pb.TestWebhookReply(
            notice_id=str(await self._webhooks.test(caller.org, request.name))
        )

    async def listdeliveries(
        self, caller: Caller, request: pb.ListDeliveriesRequest
    ) -> pb.ListDeliveriesReply:
        _check_whole_org(caller)
        found = await self._webhooks.deliveries(
            caller.org,
            request.name,
            limit=request.limit or _LISTED,
            notice_id=_read_id(request.notice_id),
        )
        return pb.ListDeliveriesReply(deliveries=map(delivery_message, found))

    async def snapshot(self, caller: Caller, request: Any) -> State | None:
        """What the audit log keeps of the webhook that a request names: no address, no secret."""
        found = await self._webhooks.find(caller.org, request.name)
        if found is None:
            return None
        return {"host": found.host, "format": found.format, "kinds": found.kinds}


def _check_whole_org(caller: Caller) -> None:
    """
    Raises:
        TokenForOthers: it is for some satellites, and webhooks hear of all.
    """
    if caller.grant.satellites is not None:
        raise TokenForOthers("webhooks are of the whole org")


def _read_id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise UnknownWebhook(f"nor a notice {text[:40]!r}") from None
