"""EC2's own word of changes, by way of EventBridge and SQS: an accelerator, never the truth.

An event says only that a machine is worth a look. While events come, machines are looked at ten
times more seldom; when the feed fails, looking is as often as without one. The queue is this
node's own: nodes that share one would each miss what another has taken.

The event is "EC2 Instance State-change Notification" (Amazon EC2 User Guide, "Automate Amazon EC2
using EventBridge").
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from torpor_provisioner.ec2.faults import FAILURES, Fault
from torpor_provisioner.ec2.refs import Ref
from torpor_provisioner.errors import Gone

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

logger = logging.getLogger(__name__)

LONG_POLL = 20  # seconds, SQS's longest
BACKOFF = 5.0  # seconds


def read(body: str) -> Ref | None:
    """The machine that an event is about; None for any other message."""
    try:
        event = json.loads(body)
        return Ref.parse(f"{event['account']}/{event['region']}/{event['detail']['instance-id']}")
    except (ValueError, KeyError, TypeError, RecursionError, Gone):
        return None


class Feed:
    """Calls `changed(ref)` for each event, and `alive(...)` when it starts or stops to work."""

    def __init__(
        self,
        queue: str,
        connect: Callable[[], Awaitable[SQSClient]],
        changed: Callable[[Ref], None],
        alive: Callable[[bool], None],
    ) -> None:
        self._queue = queue
        self._connect = connect
        self._changed = changed
        self._alive = alive

    def __repr__(self) -> str:
        return f"<Feed {self._queue}>"

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                client = await self._connect()
                while True:
                    await self._take(client)
            except (*FAILURES, Fault) as error:
                logger.warning("%r is silent: %s", self, error)
            finally:
                self._alive(False)  # noqa: FBT003 - the callback's one argument
            await asyncio.sleep(BACKOFF)

    async def _take(self, client: SQSClient) -> None:
        answer = await client.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=LONG_POLL
        )
        self._alive(True)  # noqa: FBT003 - the callback's one argument
        messages = answer.get("Messages", [])
        for message in messages:
            ref = read(message.get("Body", ""))
            if ref is not None:
                self._changed(ref)
        if messages:
            await client.delete_message_batch(
                QueueUrl=self._queue,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ],
            )
