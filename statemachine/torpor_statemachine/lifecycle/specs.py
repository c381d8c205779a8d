"""What is asked of the fleet, checked before it is written anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from torpor_provisioner.contract import Arch
from torpor_statemachine.errors import BadSatellite
from torpor_statemachine.lifecycle import schedule
from torpor_statemachine.lifecycle.states import SleepMode

DEFAULT_SLEEP_AFTER = timedelta(minutes=30)
_SHORTEST_SLEEP_AFTER = timedelta(seconds=1)
_LONGEST_SLEEP_AFTER = timedelta(days=365)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")  # as in migrations/
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
MOST_LABELS = 32
_LONGEST_SIZE = 100
_MOST_SETTINGS = 64
_LONGEST_SETTING = 16 * 1024  # EC2's user data is the longest setting anyone needs


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSatellite:
    """A satellite to launch.

    Raises:
        BadSatellite: a name, duration, size or setting that cannot be meant.
    """

    org_id: UUID
    name: str
    provisioner: str
    arch: Arch = Arch.X86_64
    size: str = ""
    sleep_mode: SleepMode = SleepMode.AUTO
    sleep_after: timedelta = DEFAULT_SLEEP_AFTER
    settings: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""  # the client's word for this wish, so that it may be repeated

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise BadSatellite(
                f"name {self.name[:80]!r}: up to 40 lower-case letters, digits and inner hyphens"
            )
        _check_sleep_after(self.sleep_after)
        _check_size(self.size)
        _check_settings(self.settings)
        check_labels(self.labels)
        if len(self.request_id) > _LONGEST_SIZE or not self.request_id.isprintable():
            raise BadSatellite("request_id: up to 100 printable characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to change; None leaves a thing as it is.

    `settings` and `labels` are merged into those there are; an empty value removes one.

    Raises:
        BadSatellite: a duration, size or setting that cannot be meant.
    """

    size: str | None = None
    sleep_mode: SleepMode | None = None
    sleep_after: timedelta | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    schedule: str | None = None  # as `lifecycle.schedule` reads it; empty removes it

    def __post_init__(self) -> None:
        if self.sleep_after is not None:
            _check_sleep_after(self.sleep_after)
        if self.schedule:
            schedule.parse(self.schedule)
        _check_size(self.size or "")
        _check_settings(self.settings)
        check_labels(self.labels)

    @property
    def of_machine(self) -> bool:
        """Whether they reach the machine, which must then be asleep."""
        return self.size is not None or bool(self.settings)

    @property
    def of_policy(self) -> bool:
        """Whether they hold at once: when and how it sleeps, and its labels."""
        values = (self.sleep_mode, self.sleep_after, self.schedule)
        return any(value is not None for value in values) or bool(self.labels)

    def policy(self) -> str:
        """Those that hold at once, for the history."""
        words = {
            "sleep mode": self.sleep_mode,
            "sleep after": self.sleep_after,
            "schedule": "none" if self.schedule == "" else self.schedule,
        }
        labels = [f"label {key}={value}" for key, value in sorted(self.labels.items())]
        return ", ".join(
            [*(f"{what} {word}" for what, word in words.items() if word is not None), *labels]
        )


def is_name(text: str) -> bool:
    """Whether an org or a satellite may be called that."""
    return _NAME.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """Whether a label may have that key."""
    return _LABEL.fullmatch(text) is not None


def check_labels(labels: Mapping[str, str]) -> None:
    """
    Raises:
        BadSatellite: one is too long or of other characters, or there are too many.
    """
    if len(labels) > MOST_LABELS:
        raise BadSatellite(f"{len(labels)} labels: {MOST_LABELS} at most")
    for key, value in labels.items():
        if not _LABEL.fullmatch(key) or (value and not _LABEL.fullmatch(value)):
            raise BadSatellite(
                f"label {key[:80]}={value[:80]}: 1 to 63 letters, digits and ._/- in each part,"
                " with a letter or digit at both ends"
            )


def _check_sleep_after(value: timedelta) -> None:
    if not _SHORTEST_SLEEP_AFTER <= value <= _LONGEST_SLEEP_AFTER:
        raise BadSatellite(f"sleep_after {value}: from 1 second to 365 days")


def _check_size(value: str) -> None:
    if len(value) > _LONGEST_SIZE or not value.isprintable():
        raise BadSatellite("size: up to 100 printable characters")


def _check_settings(settings: Mapping[str, str]) -> None:
    if len(settings) > _MOST_SETTINGS:
        raise BadSatellite(f"{len(settings)} settings: {_MOST_SETTINGS} at most")
    for key, value in settings.items():
        if not key or len(key) > _LONGEST_SIZE or not key.isprintable():
            raise BadSatellite(f"setting {key[:80]!r}: a name has 1 to 100 printable characters")
        if len(value) > _LONGEST_SETTING or "\0" in value:
            raise BadSatellite(f"setting {key!r}: {_LONGEST_SETTING} characters at most, no NUL")
