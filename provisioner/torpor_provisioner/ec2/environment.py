"""Reads the operator's variables for the `ec2` provisioner."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torpor_provisioner import identity
from torpor_provisioner.contract import Arch
from torpor_provisioner.ec2.actions import Action, Limit
from torpor_provisioner.ec2.settings import (
    ALLOWED_SIZES,
    CACHE_GIB,
    IMAGE_OWNERS,
    MAX_MACHINES,
    MAX_VCPUS,
    PACE,
    PORT,
    ROOT_GIB,
    SIZES,
    THROUGHPUT,
    Ec2Settings,
    Expiry,
    Place,
)
from torpor_provisioner.ec2.settling import AFTER_LAUNCH, AFTER_START
from torpor_provisioner.errors import Invalid

PREFIX = "TORPOR_EC2_"
LISTS = frozenset({"subnets", "security_groups"})
NUMBERS = frozenset({"max_machines", "max_vcpus"})


def settings_from(environ: Mapping[str, str]) -> Ec2Settings:
    """Read the variables below, all beginning with TORPOR_EC2_.

    DEPLOYMENT          tag on every machine; the policy's condition (required)
    REGION              AWS Region (required)
    SUBNETS             subnet-a,subnet-b: tried in this order (required)
    SECURITY_GROUPS     sg-a,sg-b (required)
    IMAGE_X86_64, IMAGE_ARM64   ami-... (one at least)
    IMAGE_OWNERS        self,amazon,111122223333: whose images satellites may name; *: of any
    SIZE_X86_64, SIZE_ARM64     instance types where a satellite names none
    ALLOWED_SIZES       m7*.*,c7g.large: the types that satellites may have; * for any
    PROFILE             instance profile of the machines
    USER_DATA           file with the machines' user data
    PORT                the worker's
    IDENTITY_PORT       where a machine says which one it is; 0 if it does not
    ROOT_GIB, CACHE_GIB sizes of the two volumes
    THROUGHPUT          MiB/s of the root volume
    ROLE, EXTERNAL_ID   role to assume, for machines in another account
    MAX_MACHINES, MAX_VCPUS     caps for each org without one of its own; 0 for none
    ORGS                TOML file: a table for each org that lives elsewhere, with the keys
                        region, subnets, security_groups, role_arn, external_id, profile,
                        max_machines, max_vcpus; what it leaves out is as above
    PACE                seconds between two looks at machines that move, 0.05 to 60
    LIMITS, RESOURCE_LIMITS     StartInstances=10/4,StopInstances=100/10: sizes of AWS's token
                        buckets for requests, and for machines in them, and what is refilled in
                        a second, where they are not AWS's published ones
    HIBERNATE_AFTER_LAUNCH, HIBERNATE_AFTER_START   seconds for which no hibernation is asked for
    HIBERNATION_EXPIRY  stop or renew: what to do with machines hibernated for as long as AWS allows
    FEED                URL of an SQS queue with EC2's state changes
    ENDPOINT            URL of another EC2 than AWS's, for tests

    Raises:
        Invalid: one of them cannot be used; its name is in the detail.
    """
    given = {k.removeprefix(PREFIX): v for k, v in environ.items() if k.startswith(PREFIX)}
    place = Place(
        region=_required(given, "REGION"),
        subnets=_list(_required(given, "SUBNETS")),
        security_groups=_list(_required(given, "SECURITY_GROUPS")),
        role_arn=given.get("ROLE", ""),
        external_id=given.get("EXTERNAL_ID", ""),
        profile=given.get("PROFILE", ""),
        max_machines=_number(given, "MAX_MACHINES", MAX_MACHINES),
        max_vcpus=_number(given, "MAX_VCPUS", MAX_VCPUS),
    )
    images = {arch: given.get(f"IMAGE_{arch.upper()}", "") for arch in Arch}
    return Ec2Settings(
        deployment=_required(given, "DEPLOYMENT"),
        place=place,
        orgs=_orgs(given["ORGS"], place) if "ORGS" in given else {},
        images={arch: image for arch, image in images.items() if image},
        image_owners=frozenset(_list(given.get("IMAGE_OWNERS", ",".join(IMAGE_OWNERS)))),
        sizes={arch: given.get(f"SIZE_{arch.upper()}", SIZES[arch]) for arch in Arch},
        allowed_sizes=_patterns(given, "ALLOWED_SIZES"),
        user_data=_read("USER_DATA", given["USER_DATA"]) if "USER_DATA" in given else "",
        port=_number(given, "PORT", PORT),
        identity_port=_number(given, "IDENTITY_PORT", identity.PORT),
        root_gib=_number(given, "ROOT_GIB", ROOT_GIB),
        cache_gib=_number(given, "CACHE_GIB", CACHE_GIB),
        throughput=_number(given, "THROUGHPUT", THROUGHPUT),
        endpoint=given.get("ENDPOINT", ""),
        limits=_limits(given, "LIMITS"),
        resource_limits=_limits(given, "RESOURCE_LIMITS"),
        pace=_seconds(given, "PACE", PACE),
        hibernate_after_launch=_seconds(given, "HIBERNATE_AFTER_LAUNCH", AFTER_LAUNCH),
        hibernate_after_start=_seconds(given, "HIBERNATE_AFTER_START", AFTER_START),
        hibernation_expiry=_expiry(given, "HIBERNATION_EXPIRY"),
        feed=given.get("FEED", ""),
    )


def _orgs(file: str, default: Place) -> dict[str, Place]:
    try:
        tables: dict[str, Any] = tomllib.loads(_read("ORGS", file))
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{PREFIX}ORGS: {file} is no TOML: {error}") from error
    return {org: _org(org, table, default) for org, table in tables.items()}


def _org(org: str, table: Any, default: Place) -> Place:
    known = {f.name for f in fields(Place)}
    if not isinstance(table, dict) or set(table) - known:
        raise Invalid(f"{PREFIX}ORGS: [{org}] must be a table with keys of {sorted(known)}")
    for key, value in table.items():
        wanted = list if key in LISTS else int if key in NUMBERS else str
        if not isinstance(value, wanted):
            raise Invalid(f"{PREFIX}ORGS: {key} of [{org}] must be a {wanted.__name__}")
    given: dict[str, Any] = {k: tuple(v) if k in LISTS else v for k, v in table.items()}
    return replace(default, **given)


def _required(given: Mapping[str, str], name: str) -> str:
    if not given.get(name):
        raise Invalid(f"{PREFIX}{name} is missing")
    return given[name]


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _patterns(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    if name not in given:
        return ALLOWED_SIZES
    patterns = _list(given[name])
    for one in patterns:
        if not re.fullmatch(r"[a-z0-9.*?-]+", one):
            raise Invalid(f"{PREFIX}{name} has {one!r}; each must be an instance type, * for any")
    if not patterns:
        raise Invalid(f"{PREFIX}{name} is empty; leave it out, or write * for any")
    return patterns


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not re.fullmatch(r"\d{1,6}", text):
        raise Invalid(f"{PREFIX}{name} is {text!r}; it must be a whole number")
    return int(text)


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    text = given.get(name, str(default))
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text):
        raise Invalid(f"{PREFIX}{name} is {text!r}; it must be a number of seconds")
    return float(text)


def _expiry(given: Mapping[str, str], name: str) -> Expiry:
    text = given.get(name, Expiry.STOP)
    if text not in set(Expiry):
        raise Invalid(f"{PREFIX}{name} is {text!r}; it must be one of {', '.join(Expiry)}")
    return Expiry(text)


def _limits(given: Mapping[str, str], name: str) -> dict[Action, Limit]:
    limits = {}
    for part in _list(given.get(name, "")):
        found = re.fullmatch(r"(\w+)=(\d{1,6})/(\d{1,6}(?:\.\d{1,3})?)", part)
        if not found or found[1] not in set(Action) or not float(found[3]):
            raise Invalid(f"{PREFIX}{name} has {part!r}; each must be ACTION=SIZE/RATE")
        limits[Action(found[1])] = Limit(int(found[2]), float(found[3]))
    return limits


def _read(name: str, file: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{PREFIX}{name}: {file} cannot be read: {error}") from error
