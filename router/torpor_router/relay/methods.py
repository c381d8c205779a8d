"""Which method each open stream of a connection is of: a number in the high bits of its state.

So it is kept and let go of with the state itself, and a stream costs nothing more for it.
"""

from __future__ import annotations

from torpor_router.h2 import huffman

SHIFT = 16  # bits below, which are `streams`'
MOST = 200  # paths of a connection that are told apart; a service has a few methods
LONGEST = 200  # octets of a path


class Methods(dict[bytes, int]):
    """What a stream of each path has in its state, for one client connection.

    A path is as it came, perhaps in Huffman's code. 0 stands for all that are not known.
    """

    __slots__ = ("_paths",)

    def __init__(self) -> None:
        super().__init__()
        self._paths = [b""]

    def __repr__(self) -> str:
        return f"<Methods {self._paths[1:]}>"

    def __missing__(self, path: bytes) -> int:
        if len(self._paths) > MOST or len(path) > LONGEST:
            return 0
        self[path] = bits = len(self._paths) << SHIFT
        self._paths.append(path)
        return bits

    def name(self, state: int) -> str:
        """The path of a stream in this state; empty if it is not known."""
        path = self._paths[state >> SHIFT]
        # In Huffman's code none begins so; what is not in it does
        text = path if path[:1] == b"/" else huffman.decode(path) or b""
        return text.decode("latin-1")
