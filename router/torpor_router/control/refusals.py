"""How a call that fails is told, counted and logged."""

from __future__ import annotations

import logging
from typing import Any, NoReturn
from urllib.parse import quote

import grpc

from torpor_provisioner.errors import TorporError
from torpor_router.control.errors import ControlFailed
from torpor_router.control.ports import Caller, Observer
from torpor_router.control.status import KEY, details
from torpor_router.peer_info import PeerInfo
from torpor_router.rate_limited_log import RateLimitedLog

LONGEST_QUOTED = 2_500  # octets of that
LONGEST_DETAIL = 1_000  # characters; a message travels in trailers, which clients bound

Context = grpc.aio.ServicerContext[Any, Any]

_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


class Refusals:
    """Ends calls with a code. `observer` hears of each."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._log = RateLimitedLog(logging.getLogger(__name__))

    async def abort(
        self, context: Context, error: Exception, caller: Caller | None = None
    ) -> NoReturn:
        """End the call. An error that nobody expected is logged, and told as TPR-5301.

        Raises:
            AbortError: always, as gRPC wants it; or `error`, if the caller has hung up.
        """
        if context.cancelled() or isinstance(error, grpc.aio.AbortError):
            raise error
        if not isinstance(error, TorporError):
            self._log.error("a call of the control API failed", exc_info=error)
            error = ControlFailed()
        org, name = (caller.org, caller.name) if caller is not None else ("", "")
        self._observer.refused(error, org, name, peer_of(context).address)
        message = message_of(error)
        status = details(error, message, bounded(error.detail))
        await context.abort(
            _STATUSES[int(error.status)],
            message,
            trailing_metadata=(*error.fields, (KEY, status)),
        )


def peer_of(context: Context) -> PeerInfo:
    """The client as the door describes it."""
    return PeerInfo.read(dict(context.invocation_metadata() or ()))


def message_of(error: TorporError) -> str:
    """What a client is told: ``str(error)``, with a detail of bounded length."""
    message, detail = str(error), bounded(error.detail)
    return message if detail == error.detail else message.replace(error.detail, detail)


def bounded(detail: str) -> str:
    """As much of it as clients accept in their 8 KiB of trailers, where it stands three times."""
    kept = detail[:LONGEST_DETAIL]
    while len(quote(kept)) > LONGEST_QUOTED:  # as gRPC sends what is not ASCII
        kept = kept[: len(kept) * 3 // 4]
    return kept if kept == detail else f"{kept}..."
