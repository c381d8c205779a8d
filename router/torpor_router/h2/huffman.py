"""Huffman strings, an octet at a time (RFC 7541 section 5.2 and appendix B).

Most fields of a request only pass: of their values it must be known that they are sound, not what
they are. One look-up an octet tells that, in a tenth of the time that the library takes to decode
them, which goes by half an octet; two look-ups an octet decode them.
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


def _decoding_rows() -> _Row:
    """The rows that decode; the first of them."""
    dead: _Row = []
    dead += [dead] * _SOUND + [False, [b""] * _SOUND]
    rows: dict[tuple[int, bool], _Row] = {}

    def row(state: int, *, complete: bool) -> _Row:
        found = rows.get((state, complete))
        if found is None:
            texts: list[bytes] = []
            found = rows[state, complete] = [dead] * _SOUND + [complete, texts]
            for octet in range(256):
                found[octet], text = follow(state, octet)
                texts.append(text)
        return found

    def follow(state: int, octet: int) -> tuple[_Row, bytes]:
        complete, text = False, b""
        for half in (octet >> 4, octet & 0xF):
            state, flags, symbol = HUFFMAN_TABLE[state * 16 + half]
            if flags & HUFFMAN_FAIL:
                return dead, b""
            if flags & HUFFMAN_EMIT_SYMBOL:
                text += bytes((symbol,))
            complete = bool(flags & HUFFMAN_COMPLETE)
        return row(state, complete=complete), text

    return row(0, complete=True)


_FIRST = _rows()
_DECODING = _decoding_rows()
