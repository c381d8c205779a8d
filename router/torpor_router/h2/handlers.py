"""What is made of each frame, by its kind (RFC 9113 section 6)."""

from __future__ import annotations

from abc import abstractmethod

# The numbers are `wire.Kind`'s, written out: to compare with the enumeration's members costs more
# than what most handlers do.


class FrameHandlers:
    """One method for each kind of frame.

    It gets the frame's flags, its stream and its payload; that of HEADERS is the whole header
    block, without padding and priority. It returns what goes on to the other peer instead; None
    for the frame itself.
    """

    __slots__ = ()

    @abstractmethod
    def on_data(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_headers(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_priority(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_rst_stream(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_settings(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_push_promise(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_ping(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_goaway(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_window_update(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_continuation(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    @abstractmethod
    def on_unknown(self, flags: int, stream: int, payload: bytes) -> bytes | None: ...

    def on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes | None:  # noqa: PLR0911 - one for each kind
        """Any frame but HEADERS; what goes on instead."""
        if kind == 8:
            return self.on_window_update(flags, stream, payload)
        if kind == 0:
            return self.on_data(flags, stream, payload)
        if kind == 6:
            return self.on_ping(flags, stream, payload)
        if kind == 3:
            return self.on_rst_stream(flags, stream, payload)
        if kind == 4:
            return self.on_settings(flags, stream, payload)
        if kind == 2:
            return self.on_priority(flags, stream, payload)
        if kind == 7:
            return self.on_goaway(flags, stream, payload)
        if kind == 5:
            return self.on_push_promise(flags, stream, payload)
        if kind == 9:
            return self.on_continuation(flags, stream, payload)
        return self.on_unknown(flags, stream, payload)
