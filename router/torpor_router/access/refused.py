"""Which certificates are refused, kept up to date for those who have connections open.

Streams that open are decided on with their caller's other facts (`verdict`). This is for what is
open already: it costs one small query every half second, whatever the number of certificates.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from torpor_router.routing import Certificate
from torpor_statemachine.postgres.pool import Connection

_CHANGED = """
select n, case when n is distinct from $1 then array(select id from refused_certificates) end as ids
  from refused_certificates_version
"""

Told = Callable[[Set[str]], None]


class Refused:
    """``certificate in refused``, as of the last `refresh`."""

    def __init__(self) -> None:
        self._ids: frozenset[str] = frozenset()
        self._version: int | None = None
        self._told: list[Told] = []

    def __repr__(self) -> str:
        return f"<Refused {len(self._ids)} certificates>"

    def __contains__(self, certificate: Certificate) -> bool:
        return not self._ids.isdisjoint((certificate.serial, certificate.fingerprint))

    @property
    def watched(self) -> bool:
        """Whether anyone wants to know."""
        return bool(self._told)

    def watch(self, told: Told) -> None:
        """Call `told` with the ids of certificates that were not refused before."""
        self._told.append(told)

    def reconnected(self) -> None:
        """Another server may answer now, whose count means something else."""
        self._version = None

    async def refresh(self, connection: Connection) -> None:
        row = await connection.fetchrow(_CHANGED, self._version)
        if row is None or row["ids"] is None:
            return
        before, self._ids = self._ids, frozenset(row["ids"])
        self._version = row["n"]
        if new := self._ids - before:
            for told in self._told:
                told(new)
