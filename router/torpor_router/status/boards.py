"""The fleet as it was seen last, for when the database is away. Bounded."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from torpor_provisioner.errors import TorporError
from torpor_statemachine.postgres.pool import DatabaseAway
from torpor_statemachine.store.overview import Board, Filter, Overview, Scope

_REMEMBERED = 32


class Shown(NamedTuple):
    """A board; with `away`, it is an old one, perhaps of another filter."""

    board: Board
    only: Filter
    away: TorporError | None = None


class Boards:
    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._last: OrderedDict[Scope, Shown] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Boards of {len(self._last)} scopes>"

    async def page(self, scope: Scope, only: Filter) -> Shown:
        """
        Raises:
            DatabaseAway: it does not answer, and nobody looked before.
        """
        try:
            shown = Shown(await self._overview.page(scope, only), only)
        except DatabaseAway as error:
            if scope not in self._last:
                raise
            return self._last[scope]._replace(away=error)
        self._last[scope] = shown
        self._last.move_to_end(scope)
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return shown
