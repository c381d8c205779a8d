"""IAM's evaluation of a policy, as far as ours go: Allow statements, ARNs with `*`, conditions.

"Policy evaluation logic" and "IAM JSON policy elements: Condition" in the IAM User Guide. What it
does not know is an error, so that no policy passes for want of being understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

Context = Mapping[str, Any]


def allows(policy: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    """Whether some statement allows it. There are no Deny statements in ours."""
    assert all(s["Effect"] == "Allow" for s in policy["Statement"])
    return any(_applies(s, action, resource, context) for s in policy["Statement"])


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _applies(statement: Any, action: str, resource: str, context: Context) -> bool:
    unknown = set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}
    assert not unknown, unknown
    return (
        any(fnmatchcase(action, pattern) for pattern in as_list(statement["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
        and all(
            _holds(operator, key, as_list(wanted), context)
            for operator, tests in statement.get("Condition", {}).items()
            for key, wanted in tests.items()
        )
    )


def _holds(operator: str, key: str, wanted: list[Any], context: Context) -> bool:
    given = context.get(key)
    match operator:
        case "StringEquals":
            return given in wanted
        case "ArnEquals" | "ArnLike" | "StringLike":
            return given is not None and any(fnmatchcase(given, pattern) for pattern in wanted)
        case "Bool":
            return given is not None and str(given).lower() in wanted
        case "ForAllValues:StringEquals":  # true of no values at all: IAM's own trap
            return all(one in wanted for one in as_list(given or []))
    raise AssertionError(f"{operator} is not modelled")
