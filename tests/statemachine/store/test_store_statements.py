"""Every change of a state can be read as one whole statement."""

from __future__ import annotations

import re

from torpor_statemachine.lifecycle.machine import Event
from torpor_statemachine.store import changes


def test_each_event_s_statement_is_told_whole() -> None:
    told = dict(changes.statements())
    assert {name.partition(" ")[0] for name in told} == {*Event} - {Event.LAUNCH}
    for name, sql in told.items():
        assert not re.search(r"[{}]", sql), name
        for part in ("update satellites set", "insert into transitions", "delete from leases"):
            assert sql.count(part) == 1, name


def test_what_is_told_is_what_is_sent() -> None:
    for event in changes._SETS:
        sql, names = changes._statement(event, changes._which(event))
        numbered = dict(changes.statements())[event.value]
        for number, name in enumerate(names, 1):
            typed = f"${number}{changes._TYPES.get(name, '')}"
            numbered = re.sub(rf"(?<!:):{name}\b", lambda _, typed=typed: typed, numbered)  # type: ignore[misc]
        assert numbered.split() == sql.split()
