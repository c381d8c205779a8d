"""The client of torpor.v1.Webhooks behind `satellite webhook`."""

from __future__ import annotations

from collections.abc import Sequence

from torpor_router.cli.client import Client
from torpor_router.cli.connection import Target
from torpor_router.control.v1 import webhooks_pb2 as pb
from torpor_router.control.v1 import webhooks_pb2_grpc as rpc
from torpor_router.control.webhook_messages import read_delivery, read_webhook
from torpor_router.notices.webhooks import Delivery, Webhook


class WebhookClient(Client):
    """For an org's admins. Fails as `Client` does."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._webhooks = rpc.WebhooksStub(self._channel)

    def add(self, name: str, url: str, *, form: str, kinds: Sequence[str]) -> tuple[Webhook, str]:
        """The webhook, and its secret."""
        request = pb.AddWebhookRequest(name=name, url=url, format=form, kinds=kinds)
        reply = self._ask(self._webhooks.AddWebhook, request)
        return read_webhook(reply.webhook), reply.secret

    def all(self) -> list[Webhook]:
        reply = self._ask(self._webhooks.ListWebhooks, pb.ListWebhooksRequest())
        return [read_webhook(each) for each in reply.webhooks]

    def remove(self, name: str) -> Webhook:
        request = pb.RemoveWebhookRequest(name=name)
        return read_webhook(self._ask(self._webhooks.RemoveWebhook, request).webhook)

    def rotate(self, name: str) -> tuple[Webhook, str]:
        """The webhook, and its new secret."""
        request = pb.RotateWebhookRequest(name=name)
        reply = self._ask(self._webhooks.RotateWebhook, request)
        return read_webhook(reply.webhook), reply.secret

    def test(self, name: str) -> str:
        """The id of the notice that is sent."""
        reply = self._ask(self._webhooks.TestWebhook, pb.TestWebhookRequest(name=name))
        return reply.notice_id

    def deliveries(self, name: str, *, limit: int = 0, notice_id: str = "") -> list[Delivery]:
        request = pb.ListDeliveriesRequest(name=name, limit=limit, notice_id=notice_id)
        reply = self._ask(self._webhooks.ListDeliveries, request)
        return [read_delivery(each) for each in reply.deliveries]
