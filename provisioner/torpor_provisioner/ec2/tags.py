"""What stands on every machine and volume, so that any node finds them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from torpor_provisioner.contract import Spec

DEPLOYMENT = "torpor:deployment"  # the shipped policy's condition
ORG = "torpor:org"
SATELLITE = "torpor:satellite"
SATELLITE_ID = "torpor:satellite-id"
GENERATION = "torpor:generation"
TOKEN = "torpor:token"  # noqa: S105 - names one launch; it opens nothing
SIZES = "torpor:sizes"  # that will do, the wanted one first
IMAGE = "torpor:image"


def of(spec: Spec, token: str, deployment: str, sizes: Sequence[str]) -> dict[str, str]:
    return {
        "Name": f"{spec.org}/{spec.name}",
        DEPLOYMENT: deployment,
        ORG: spec.org,
        SATELLITE: spec.name,
        SATELLITE_ID: str(spec.satellite_id),
        GENERATION: str(spec.generation),
        TOKEN: token,
        SIZES: " ".join(sizes),
    }


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def read(resource: Mapping[str, Any]) -> dict[str, str]:
    """The tags of an instance or a volume, as AWS describes it."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", ())}


def filters(**wanted: str) -> list[dict[str, Any]]:
    """Filters on our tags, by the names above in lower case."""
    names = {
        "deployment": DEPLOYMENT,
        "org": ORG,
        "satellite_id": SATELLITE_ID,
        "generation": GENERATION,
        "token": TOKEN,
    }
    return [{"Name": f"tag:{names[key]}", "Values": [value]} for key, value in wanted.items()]


def owner(tags: Mapping[str, str]) -> tuple[UUID, int] | None:
    """Satellite id and generation; None where somebody changed the tags."""
    try:
        return UUID(tags[SATELLITE_ID]), int(tags[GENERATION])
    except (KeyError, ValueError):
        return None
