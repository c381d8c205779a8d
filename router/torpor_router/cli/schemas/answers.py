"""What each command prints with --json."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from torpor_router.access.audit import Entry
from torpor_router.access.endings import Ended
from torpor_router.access.issued import Issued
from torpor_router.access.members import Member
from torpor_router.access.oidc.rules import TrustRule
from torpor_router.access.removal import Belongings
from torpor_router.access.revocations import RevokedCertificate
from torpor_router.access.store import Org, Token
from torpor_router.cli.connect.jobs import JOBS
from torpor_router.cli.connect.recipes import CLIENTS
from torpor_router.cli.connect.way import Recipe
from torpor_router.cli.doctor.finding import Finding
from torpor_router.cli.node_doctor import NodeFinding
from torpor_router.cli.schemas.types import Schemas, Shape, keys
from torpor_router.control.access_views import ExchangeView
from torpor_router.control.messages import CallerView, ProgressView, SatelliteView, TransitionView
from torpor_router.notices.webhooks import FORMATS, Delivery, Webhook
from torpor_router.policies.budgets import Budget
from torpor_statemachine.store.limits import OrgLimits
from torpor_statemachine.store.listing import Listed
from torpor_statemachine.store.node_list import NodeSeen
from torpor_statemachine.store.pauses import Pause
from torpor_statemachine.store.runaways import Runaway
from torpor_statemachine.store.strays import Stray

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ALL = (
    "Under `properties`, the schema of each command's answer. Keys stay; others may be added."
    " Times are ISO 8601, lengths of time seconds."
)
_VALID = ("valid", "expired", "revoked")
WORDS = {
    (Token, "state"): _VALID,
    (Issued, "state"): _VALID,
    (RevokedCertificate, "kind"): ("serial", "sha256"),
    (NodeSeen, "state"): ("serving", "draining", "drained", "silent"),
    (NodeFinding, "result"): ("ok", "warning", "bad"),
    (Webhook, "format"): FORMATS,
    (Delivery, "state"): ("waiting", "delivered", "given up", "left out"),
    (Member, "kind"): ("user", "service"),
    (Recipe, "client"): (*CLIENTS, *JOBS),
}

_CERTIFICATE = {
    "serial": str,
    "subject": str,
    "expires_at": datetime,
    "certificate": str,
    "key": str | None,
}
_HOURS = ("hours_awake", "hours_waking", "hours_asleep", "hours_failed")
_WAKES = ("wakes_resumed", "wakes_started", "wakes_launched")
_MONEY = ("spent", "always_on", "saved", "hours_unpriced")
_LINE = {
    "name": str,
    **dict.fromkeys(_HOURS, str),  # decimals, which lose nothing as text
    **dict.fromkeys(_WAKES, int),
    "streams": int,
    "seconds_held": str,
    **dict.fromkeys(_MONEY, str),
}
_USAGE = {"from": str, "to": str, "currency": str, "lines": [_LINE], "total": _LINE}
_WHY = {"summary": str, "satellite": SatelliteView}
_INSPECT = {"satellite": SatelliteView, "transitions": [TransitionView]}
_CONTEXT = {
    "name": str,
    "address": str,
    "org": str,
    "satellite": str,
    "token": bool,
    "selected": bool,
}
_NEW_WEBHOOK = {**keys(Webhook), "secret": str}
_NEW_TOKEN = {**keys(Token), "state": _VALID, "token": str}

# `satellite`: by the name of the file, which commands and what they print
SATELLITE: dict[str, tuple[str, Shape]] = {
    "satellite": ("launch, wake, sleep, update, schedule, resize, repair, rm, wait", SatelliteView),
    "satellites": ("ls; with --watch one list a line", [SatelliteView]),
    "why": ("why, and torpor fleet why", _WHY),
    "inspect": ("inspect", _INSPECT),
    "history": ("history", [TransitionView]),
    "follow": ("follow, one object a line", ProgressView),
    "whoami": ("whoami", CallerView),
    "usage": ("usage", _USAGE),
    "certificate": ("certificate", _CERTIFICATE),
    "doctor": ("doctor", {"ok": bool, "checks": [Finding], "fix": str}),
    "contexts": ("context ls", [_CONTEXT]),
    "connect": ("connect", Recipe),
    "exchange": ("exchange", ExchangeView),
}
TORPOR: dict[str, Shape] = {
    "migrate": {"applied": [str], "role_settings": [str]},
    "org create": Org,
    "org ls": [Org],
    "org rm": Belongings,
    "member add": Member,
    "member ls": [Member],
    "member set": Member,
    "member rm": Member,
    "token create": _NEW_TOKEN,
    "token rotate": _NEW_TOKEN,
    "token ls": [Token],
    "token narrow": Token,
    "token revoke": Token,
    "token revived": [Ended],
    "trust add": TrustRule,
    "trust ls": [TrustRule],
    "trust rm": TrustRule,
    "audit": Entry,  # one a line
    "ca init": {"client_ca": str, "client_ca_key": str, "expires_at": datetime},
    "ca issue": _CERTIFICATE,
    "ca ls": [Issued],
    "ca revoke": RevokedCertificate,
    "cert revoke": RevokedCertificate,
    "cert ls": [RevokedCertificate],
    "cert restore": RevokedCertificate,
    "cert set": {"org": str, "fingerprint": str, "role": str},
    "usage": _USAGE,
    "nodes ls": [NodeSeen],
    "drain": NodeSeen,
    "pause-sleep on": Pause,
    "pause-sleep off": {"org": str | None, "ended": bool},
    "pause-sleep ls": [Pause],
    "limit set": OrgLimits,
    "limit rm": {"org": str, "removed": bool},
    "limit ls": [OrgLimits],
    "doctor": [NodeFinding],
    "budget set": Budget,
    "budget ls": [Budget],
    "budget rm": {"org": str, "removed": bool},
    "runaway ls": [Runaway],
    "runaway set": {"org": str | None, "suspends": bool},
    "runaway allow": {"satellite": str, "until": datetime},
    "webhook key": {"file": str},
    "webhook add": _NEW_WEBHOOK,
    "webhook ls": [Webhook],
    "webhook test": Delivery,
    "webhook rotate": _NEW_WEBHOOK,
    "webhook history": [Delivery],
    "webhook rm": Webhook,
    "fleet ls": [Listed],
    "fleet inspect": _INSPECT,
    "fleet why": _WHY,
    "fleet history": [TransitionView],
    "fleet wake": SatelliteView,
    "fleet sleep": SatelliteView,
    "fleet rm": SatelliteView,
    "fleet strays": [Stray],
    "fleet adopt": {"ref": str, "satellite": str},
    "fleet end": {"ref": str},
}


def of_satellite(name: str) -> str:
    """The file docs/schemas/NAME.json."""
    commands, shape = SATELLITE[name]
    schemas = Schemas(WORDS)
    return _written(f"satellite --json: {commands}", schemas.of(shape), schemas)


def of_torpor() -> str:
    """The file docs/schemas/torpor.json, with the answers of all commands."""
    schemas = Schemas(WORDS)
    answers = {command: schemas.of(shape) for command, shape in TORPOR.items()}
    whole = {"description": _ALL, "type": "object", "properties": answers}
    return _written("What `torpor COMMAND --json` prints", whole, schemas)


def _written(title: str, schema: dict[str, Any], schemas: Schemas) -> str:
    whole = {"$schema": _DIALECT, "title": title, **schema}
    if schemas.definitions:
        whole["$defs"] = dict(sorted(schemas.definitions.items()))
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
