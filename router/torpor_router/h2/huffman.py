"""Huffman strings, an octet at a time (RFC 7541 section 5.2 and appendix B).

Most fields of a request only pass: of their values it must be known that they are sound, not what
they are. One look-up an octet tells that, in a tenth of the time that the library takes to decode
them, which goes by half an octet; two look-ups an octet decode them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

# No value may hold the first three, nor the last at its ends
_NEVER: Final = frozenset(b"\0\r\n\t")
_SPACE: Final = 0x20
# A state of the decoder: the next one for each octet; whether the string may end here; and, where
# it is decoded, what each octet adds to the text.
_Row = list[Any]
_SOUND, _TEXTS = 256, 257


def is_sound(octets: bytes) -> bool:
    """Whether this Huffman string is valid, and what it stands for may be any field's value.

    False also where only decoding can tell: it has a tab, or an octet that some fields may hold.
    """
    row = _FIRST
    for octet in octets:
        row = row[octet]
    sound: bool = row[_SOUND]
    return sound


def decode(octets: bytes) -> bytes | None:
    """What a Huffman string stands for; None where it is not valid."""
    row, texts = _DECODING, []
    for octet in octets:
        texts.append(row[_TEXTS][octet])
        row = row[octet]
    return b"".join(texts) if row[_SOUND] else None


def common_start(start: bytes) -> bytes:
    """The octets with which the coding of every string that begins with `start` begins."""
    bits = sum(REQUEST_CODES_LENGTH[octet] for octet in start)
    coded: bytes = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(start)
    return coded[: bits // 8]


def _rows() -> _Row:
    """The rows, from the library's table, which goes by half an octet; the first of them.

    A state is where the decoder is in the tree of codes, and whether a space is all that came
    since the last octet began: no value may begin or end with one.
    """
    dead: _Row = []
    dead += [dead] * _SOUND + [False]
    rows: dict[tuple[int, bool, bool], _Row] = {}
    unfilled: list[tuple[_Row, int]] = []

    def row(state: int, *, complete: bool, spaced: bool) -> _Row:
        found = rows.get((state, complete, spaced))
        if found is None:
            found = rows[state, complete, spaced] = [dead] * _SOUND + [complete and not spaced]
            unfilled.append((found, state))
        return found

    @cache
    def second(state: int, *, begins: bool, spaced: bool) -> list[_Row]:
        found = []
        for half in range(16):
            following, flags, symbol = HUFFMAN_TABLE[state * 16 + half]
            ends = symbol == _SPACE if flags & HUFFMAN_EMIT_SYMBOL else spaced
            sound = _passes(flags, symbol, begins=begins)
            complete = bool(flags & HUFFMAN_COMPLETE)
            found.append(row(following, complete=complete, spaced=ends) if sound else dead)
        return found

    def fill(found: _Row, state: int, *, begins: bool) -> None:
        for half in range(16):
            middle, flags, symbol = HUFFMAN_TABLE[state * 16 + half]
            emitted = bool(flags & HUFFMAN_EMIT_SYMBOL)
            targets = [dead] * 16
            if _passes(flags, symbol, begins=begins):
                spaced = emitted and symbol == _SPACE
                targets = second(middle, begins=begins and not emitted, spaced=spaced)
            found[16 * half : 16 * half + 16] = targets

    first: _Row = [dead] * _SOUND + [True]  # the empty string
    fill(first, 0, begins=True)
    while unfilled:
        fill(*unfilled.pop(), begins=False)
    return first


def _passes(flags: int, symbol: int, *, begins: bool) -> bool:
    """Whether a value may go on so, and begin so where it `begins`."""
    if flags & HUFFMAN_FAIL:
        return False
    never = symbol in _NEVER or (begins and symbol == _SPACE)
    return not (flags & HUFFMAN_EMIT_SYMBOL and never)


def _decoding_rows() -> _Row:
    """The rows that decode; the first of them."""
    dead: _Row = []
    dead += [dead] * _SOUND + [False, [b""] * _SOUND]
    rows: dict[tuple[int, bool], _Row] = {}
    unfilled: list[tuple[_Row, int]] = []

    def row(state: int, *, complete: bool) -> _Row:
        found = rows.get((state, complete))
        if found is None:
            found = rows[state, complete] = [dead] * _SOUND + [complete, []]
            unfilled.append((found, state))
        return found

    @cache
    def halves(state: int) -> list[tuple[int, bool, bool, bytes]]:
        """For each half an octet: the next state, whether it fails, may end, and what it adds."""
        steps = (HUFFMAN_TABLE[state * 16 + half] for half in range(16))
        return [
            (
                following,
                bool(flags & HUFFMAN_FAIL),
                bool(flags & HUFFMAN_COMPLETE),
                bytes((symbol,)) if flags & HUFFMAN_EMIT_SYMBOL else b"",
            )
            for following, flags, symbol in steps
        ]

    first = row(0, complete=True)
    while unfilled:
        found, state = unfilled.pop()
        targets, texts = [], found[_TEXTS]
        for middle, fails, _, text in halves(state):
            for following, fails_too, complete, more in halves(middle):
                failed = fails or fails_too
                targets.append(dead if failed else row(following, complete=complete))
                texts.append(text + more)
        found[:_SOUND] = targets
    return first


_FIRST: Final = _rows()
_DECODING: Final = _decoding_rows()
