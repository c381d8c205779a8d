"""Guessing at tokens: bounded by address, at nobody else's cost."""

from __future__ import annotations

import pytest

from torpor_router.access.directory import Directory
from torpor_router.access.errors import BadToken, TooManyGuesses
from torpor_router.access.guesses import BURST, Guesses
from torpor_router.routing import Ask
from torpor_router.tokens import digest


def test_an_address_may_guess_so_often_and_then_by_the_second() -> None:
    guesses = Guesses()
    for _ in range(BURST):
        guesses.check("192.0.2.1:5", 0.0)
        guesses.count("192.0.2.1:6", 0.0)
    with pytest.raises(TooManyGuesses):
        guesses.check("192.0.2.1:7", 0.5)
    guesses.check("192.0.2.2:5", 0.5)
    guesses.check("192.0.2.1:7", 1.0)
    guesses.count("192.0.2.1:7", 1.0)
    with pytest.raises(TooManyGuesses):
        guesses.check("192.0.2.1:7", 1.5)
    guesses.check("192.0.2.1:7", 1_000.0)


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    guesses = Guesses()
    for n in range(20_000):
        guesses.count(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:1", 0.0)
    assert "10000 addresses" in repr(guesses)


async def test_guessed_tokens_keep_no_known_caller_out(database, store, satellite) -> None:
    await satellite("acme/one")
    _, token = await store.create_token("acme", "ci")
    async with Directory(database) as directory:
        peer = "192.0.2.1:5"
        known = Ask("acme", "one", digest(token))
        await directory.route(known, peer)
        refused = [0, 0]
        for n in range(2 * BURST):
            try:
                await directory.route(Ask("acme", "one", digest(f"wrong {n}")), peer)
            except BadToken:
                refused[0] += 1
            except TooManyGuesses:
                refused[1] += 1
        assert refused[0] >= BURST
        assert refused[1] > 0
        await directory.route(known, peer)
        await directory.route(known, "192.0.2.9:5")
        _, fresh = await store.create_token("acme", "fresh")
        await directory.route(Ask("acme", "one", digest(fresh)), "192.0.2.9:5")
