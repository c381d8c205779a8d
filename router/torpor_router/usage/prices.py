"""What an hour of a machine costs, by provisioner and size, as the operator's file says it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from torpor_router.usage.errors import BadPrices

DEFAULT = "default"  # the size whose price all others have that have none of their own
_FIELDS = frozenset(("awake", "asleep"))
_MOST = Decimal(1_000_000)
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Price:
    """Of an hour, everything in it: `awake` the machine and its disks, `asleep` its disks."""

    awake: Decimal
    asleep: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Prices:
    currency: str
    table: Mapping[str, Mapping[str, Price]]

    def of(self, provisioner: str, size: str) -> Price | None:
        """None: nobody has said what such a machine costs."""
        sizes = self.table.get(provisioner, {})
        return sizes.get(size) or sizes.get(DEFAULT)


NO_PRICES = Prices("", {})


def read(text: str) -> Prices:
    """The prices of a TOML text:

        currency = "USD"
        [ec2."c7i.xlarge"]
        awake = 0.1785
        asleep = 0.011

    Raises:
        BadPrices: it is of another form.
    """
    try:
        tables = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, InvalidOperation, RecursionError) as error:
        raise BadPrices(str(error)) from error
    currency = tables.pop("currency", None)
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency):
        raise BadPrices("'currency' must be its three letters, as in \"USD\"")
    return Prices(
        currency,
        {
            provisioner: {
                size: _price(f"{provisioner}.{size}", entry)
                for size, entry in _table(provisioner, sizes).items()
            }
            for provisioner, sizes in tables.items()
        },
    )


def read_file(path: Path) -> Prices:
    """
    Raises:
        BadPrices: it cannot be read, or is of another form.
    """
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadPrices(f"{path}: {error}") from error


def _price(name: str, entry: object) -> Price:
    fields = _table(name, entry)
    if "awake" not in fields or fields.keys() - _FIELDS:
        raise BadPrices(f"[{name}] needs 'awake', and may have 'asleep', and nothing else")
    return Price(**{field: _amount(f"{name}.{field}", value) for field, value in fields.items()})


def _table(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadPrices(f"'{name}' must be a table")
    return value


def _amount(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise BadPrices(f"{name} must be a number")
    amount = Decimal(value)
    if not amount.is_finite() or not 0 <= amount <= _MOST:
        raise BadPrices(f"{name} must be from 0 to {_MOST}")
    return amount
