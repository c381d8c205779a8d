"""EC2's query protocol: what is asked, and the answers that moto does not give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.sax.saxutils import escape

from moto.iam.models import get_account_id_from
from werkzeug.wrappers import Response

from torpor_provisioner.faithful_ec2.machine import Phase

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
SCOPE = re.compile(r"Credential=([^/,\s]+)/\d+/([^/]+)/([^/]+)/aws4_request")


class Refusal(Exception):
    """An answer that says no."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Query:
    """One request: its caller, service, Region and parameters."""

    service: str
    region: str
    account: str
    form: Mapping[str, str]

    @classmethod
    def read(cls, authorization: str, body: bytes) -> Query | None:
        """A signed request in the query protocol; None for any other."""
        found = SCOPE.search(authorization)
        if not found:
            return None
        key, region, service = found.groups()
        form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        return cls(service, region, get_account_id_from(key), form)

    @property
    def action(self) -> str:
        return self.form.get("Action", "")

    @property
    def key(self) -> tuple[str, str, str]:
        return self.account, self.region, self.action

    def listed(self, name: str) -> list[str]:
        """`InstanceId.1=a&InstanceId.2=b` as a list."""
        return [v for k, v in self.form.items() if re.fullmatch(rf"{name}\.\d+", k)]

    @property
    def instances(self) -> list[str]:
        one = self.form.get("InstanceId")
        return [one] if one else self.listed("InstanceId")

    def flag(self, name: str) -> bool:
        return self.form.get(name, "").lower() == "true"


def refused(refusal: Refusal) -> Response:
    error = (
        f"<Error><Code>{escape(refusal.code)}</Code>"
        f"<Message>{escape(refusal.message)}</Message></Error>"
    )
    body = f"<Response><Errors>{error}</Errors><RequestID>{uuid4()}</RequestID></Response>"
    return _xml(body, refusal.status)


def refused_by_sts(refusal: Refusal) -> Response:
    error = (
        f"<Error><Type>Sender</Type><Code>{escape(refusal.code)}</Code>"
        f"<Message>{escape(refusal.message)}</Message></Error>"
    )
    space = "https://sts.amazonaws.com/doc/2011-06-15/"
    body = f'<ErrorResponse xmlns="{space}">{error}<RequestId>{uuid4()}</RequestId></ErrorResponse>'
    return _xml(body, refusal.status)


def changed(action: str, changes: Iterable[tuple[str, Phase, Phase]]) -> Response:
    """StartInstances' and StopInstances' answer: instance, state before, state now."""
    items = "".join(
        f"<item><instanceId>{instance}</instanceId>"
        f"<currentState><code>{now.code}</code><name>{now}</name></currentState>"
        f"<previousState><code>{before.code}</code><name>{before}</name></previousState></item>"
        for instance, before, now in changes
    )
    return _xml(
        f'<{action}Response xmlns="{NAMESPACE}"><requestId>{uuid4()}</requestId>'
        f"<instancesSet>{items}</instancesSet></{action}Response>"
    )


def _xml(body: str, status: int = 200) -> Response:
    return Response(body, status=status, content_type="text/xml;charset=UTF-8")
