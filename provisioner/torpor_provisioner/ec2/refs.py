"""What stands in the database for a machine: `account/region/i-...`."""

from __future__ import annotations

import re
from typing import NamedTuple

from torpor_provisioner.errors import Gone

FORM = re.compile(r"([0-9]{12})/([a-z]{2}(?:-[a-z]+)+-[0-9])/(i-[0-9a-f]{8,17})")


class Ref(NamedTuple):
    account: str
    region: str
    instance: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read a ref.

        Raises:
            Gone: no machine can ever have had it.
        """
        found = FORM.fullmatch(text)
        if not found:
            raise Gone(f"no machine {text!r}")
        return cls(*found.groups())
