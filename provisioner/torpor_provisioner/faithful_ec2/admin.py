"""The server's own words, for those who play with it from another process.

GET    /faithful/calls               the log
GET    /faithful/machines            every machine's phase and address
POST   /faithful/faults              {"action", "effect", "code", "message", "status", ...}
PUT    /faithful/capacity            {"size", "zone", "left"}
PUT    /faithful/timing              some of Timing's numbers
PUT    /faithful/trust               {"role", "external_id"}
PUT    /faithful/limits              {"on"}: whether requests are throttled
POST   /faithful/spent               {"account", "region", "action", "resources"}
DELETE /faithful/script              no faults, capacity everywhere, full buckets
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

from werkzeug.wrappers import Request, Response

from torpor_provisioner.faithful_ec2.calls import Calls
from torpor_provisioner.faithful_ec2.limits import Limits
from torpor_provisioner.faithful_ec2.script import Effect, Fault, Script
from torpor_provisioner.faithful_ec2.world import World

PATH = "/faithful/"
Body = Mapping[str, Any]


class Front(Protocol):
    """The server's parts, as far as these words change or show them."""

    calls: Calls
    limits: Limits
    script: Script
    trust: dict[str, str]
    world: World


def answer(front: Front, request: Request) -> Response:
    """Answer one request below PATH; the caller holds the front's lock."""
    words: dict[tuple[str, str], Callable[[Front, Body], Any]] = {
        ("GET", "calls"): lambda front, _: [asdict(call) for call in front.calls.entries],
        ("GET", "machines"): _machines,
        ("POST", "faults"): _fault,
        ("PUT", "capacity"): _capacity,
        ("PUT", "timing"): _timing,
        ("PUT", "trust"): lambda front, body: _trust(front, body["role"], body["external_id"]),
        ("PUT", "limits"): lambda front, body: setattr(front.limits, "on", body["on"]),
        ("POST", "spent"): _spent,
        ("DELETE", "script"): lambda front, _: clear(front),
    }
    word = words.get((request.method, request.path.removeprefix(PATH)))
    if word is None:
        return Response("no such word\n", status=404)
    try:
        reply = word(front, request.get_json(silent=True) or {})
    except (KeyError, TypeError, ValueError) as error:
        return Response(f"{type(error).__name__}: {error}\n", status=400)
    return Response(json.dumps(reply), content_type="application/json")


def clear(front: Front) -> None:
    """Nothing more goes wrong."""
    front.script.clear()
    front.limits.clear()


def _machines(front: Front, _: Body) -> list[dict[str, Any]]:
    return [
        {
            "instance": m.instance,
            "phase": m.phase,
            "address": m.address,
            "starts": m.starts,
            "booted": m.booted,
            "frozen": m.frozen,
        }
        for m in front.world.machines.values()
    ]


def _fault(front: Front, body: Body) -> None:
    effect = Effect(body.get("effect", Effect.REFUSE))
    front.script.faults.append(Fault(**{**body, "effect": effect}))


def _capacity(front: Front, body: Body) -> None:
    key = (body["size"], body["zone"])
    front.script.capacity.pop(key, None)
    if body["left"] is not None:
        front.script.capacity[key] = int(body["left"])


def _timing(front: Front, body: Body) -> None:
    front.world.timing = replace(front.world.timing, **body)


def _trust(front: Front, role: str, external_id: str) -> None:
    front.trust[role] = external_id


def _spent(front: Front, body: Body) -> None:
    key = (body["account"], body["region"], body["action"])
    front.limits.spend(key, int(body["resources"]), front.world.clock.now())
