"""What a node keeps of 10,000 satellites that it has routed to, once nobody uses them: nothing."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from torpor_provisioner.contract import Address
from torpor_statemachine.node.lease_book import LeaseBook
from torpor_statemachine.node.traffic import Traffic
from torpor_statemachine.store.usage import Seen

SATELLITES = 10_000


class Accepts:
    """Stands for the database's usage."""

    def __init__(self) -> None:
        self.streams = 0

    async def add(self, node_id: UUID, part: int, seen: dict[UUID, Seen]) -> bool:
        self.streams += sum(each.streams for each in seen.values())
        return True


async def test_nothing_stays_of_satellites_that_nobody_uses() -> None:
    given_up = 0

    def give_up(satellite_id: UUID) -> None:
        nonlocal given_up
        given_up += 1
        book.lose(satellite_id)

    book = LeaseBook(lambda: True, give_up, linger=0.0)
    usage = Accepts()
    traffic = Traffic(usage, uuid4(), 3_600.0)  # type: ignore[arg-type]

    async def use(satellites: int) -> None:
        for number in range(satellites):
            each = UUID(int=number)
            book.take(each, Address("10.0.0.1", 1), epoch=1)
            assert book.enter(each) is not None
            with traffic.holding(each):
                pass
            book.leave(each)
        while given_up < satellites:
            await asyncio.sleep(0)
        await traffic.flush()

    await use(SATELLITES)
    assert usage.streams == SATELLITES
    kept = (book._entries, traffic._streams, traffic._held, traffic._part_sent)
    assert [len(each) for each in kept] == [0, 0, 0, 0]
