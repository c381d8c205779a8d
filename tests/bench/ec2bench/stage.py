"""The faithful EC2 that both parts measure against, and what they ask it besides its API."""

from __future__ import annotations

import json
import urllib.request
from typing import Any, Final

from torpor_provisioner.ec2.actions import Action

SIZE: Final = "m7i.large"
START = Action.START_INSTANCES


class Ec2:
    """The faithful EC2's own words; see `faithful_ec2.admin`."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ
        self.endpoint = environ["TORPOR_EC2_ENDPOINT"]

    def say(self, method: str, word: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.endpoint}/faithful/{word}",
            data=json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def calls(self, since: float, action: str) -> list[dict[str, Any]]:
        """Those since a moment of the monotonic clock, which all processes here share."""
        told: list[dict[str, Any]] = self.say("GET", "calls")
        return [call for call in told if call["at"] >= since and call["action"] == action]
