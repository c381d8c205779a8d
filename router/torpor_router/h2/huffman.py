"""Huffman strings that need not be decoded (RFC 7541 section 5.2 and appendix B).

Most fields of a request only pass: of their values it must be known that they are sound, not what
they are. One look-up an octet tells that, in a tenth of the time that decoding takes.
"""

from __future__ import annotations

from typing import Any

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

_NEVER = frozenset(b"\0\r\n\t")  # no value may hold the first three, nor the last at its ends
_SPACE = 0x20
_SOUND = 256  # where a row says whether a string may end there

# A state of the decoder: the next one for each octet, and whether the string may end here.
_Row = list[Any]


def is_sound(octets: bytes) -> bool:
    """Whether this Huffman string is valid, and what it stands for may be any field's value.

    False also where only decoding can tell: it has a tab, or an octet that some fields may hold.
    """
    row = _FIRST
    for octet in octets:
        row = row[octet]
    sound: bool = row[_SOUND]
    return sound


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

    def row(state: int, *, complete: bool, spaced: bool) -> _Row:
        found = rows.get((state, complete, spaced))
        if found is None:
            found = rows[state, complete, spaced] = [dead] * _SOUND + [complete and not spaced]
            found[:_SOUND] = [follow(state, octet, begins=False) for octet in range(256)]
        return found

    def follow(state: int, octet: int, *, begins: bool) -> _Row:
        complete = spaced = False
        for half in (octet >> 4, octet & 0xF):
            state, flags, symbol = HUFFMAN_TABLE[state * 16 + half]
            if flags & HUFFMAN_FAIL:
                return dead
            if flags & HUFFMAN_EMIT_SYMBOL:
                spaced = symbol == _SPACE
                if symbol in _NEVER or (begins and spaced):
                    return dead
                begins = False
            complete = bool(flags & HUFFMAN_COMPLETE)
        return row(state, complete=complete, spaced=spaced)

    first: _Row = [dead] * _SOUND + [True]  # the empty string
    first[:_SOUND] = [follow(0, octet, begins=True) for octet in range(256)]
    return first


_FIRST = _rows()
