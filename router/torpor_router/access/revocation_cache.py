"""Which certificates are refused, kept up to date for those who have connections open.

Streams that open are decided on with their caller's other facts (`verdict`). This is for what is
open already: while there is such a connection it costs one small query every half second, whatever
the number of certificates.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from torpor_router.routing import Certificate
from torpor_statemachine.postgres.pool import Connection

_CHANGED = """
select n, case when n is distinct from $1 then array(select id from refused_certificates) end as ids
  from refused_certificates_version
"""

OnRefused = Callable[[Set[str]], None]


class RevocationCache:
    """``certificate in refused``, as of the last `refresh`."""

    def __init__(self) -> None:
        self._ids: frozenset[str] = frozenset()
        self._version: int | None = None
        self._watchers: list[tuple[OnRefused, Callable[[], bool]]] = []

    def __repr__(self) -> str:
        return f"<RevocationCache {len(self._ids)} certificates>"

    def __contains__(self, certificate: Certificate) -> bool:
        return not self._ids.isdisjoint((certificate.serial, certificate.fingerprint))

    @property
    def watched(self) -> bool:
        """Whether anyone needs to know now."""
        return any(needed() for _, needed in self._watchers)

    def watch(self, on_refused: OnRefused, needed: Callable[[], bool]) -> None:
        """Call `on_refused` with the ids of certificates newly refused, while `needed`."""
        self._watchers.append((on_refused, needed))

    def forget(self) -> None:
        """Nobody needs to know: what is known grows old, and would shut out who is let in again."""
        self._ids, self._version = frozenset(), None

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
            for on_refused, _ in self._watchers:
                on_refused(new)
