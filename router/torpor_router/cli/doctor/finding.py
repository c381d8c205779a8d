"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass

from torpor_provisioner.errors import TorporError


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` says what to fix, and `code` is the error's, where it has one."""

    check: str
    ok: bool
    detail: str
    code: str = ""
    remedy: str = ""


class Broken(Exception):
    """The check failed, and what comes after it cannot work."""

    def __init__(self, check: str, detail: str, remedy: str, code: str = "") -> None:
        super().__init__(detail)
        self.finding = Finding(check, ok=False, detail=detail, code=code, remedy=remedy)

    @classmethod
    def by(cls, check: str, error: TorporError) -> Broken:
        return cls(check, error.message, error.remedy, error.code)
