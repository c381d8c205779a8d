"""What a peer can do wrong, as RFC 9113 section 5.4 tells it apart."""

from __future__ import annotations

from torpor_router.h2.wire import ErrorCode


class ConnectionFault(Exception):
    """The whole connection ends, with GOAWAY and this code (section 5.4.1)."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why

    def __repr__(self) -> str:
        return f"<ConnectionFault {self.code.name}: {self.why}>"


class StreamFault(Exception):
    """One stream ends, with RST_STREAM and this code (section 5.4.2)."""

    def __init__(self, code: ErrorCode, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why

    def __repr__(self) -> str:
        return f"<StreamFault {self.code.name}: {self.why}>"


class TooManyFields(Exception):
    """A header list over the limit; the block itself was sound, so the stream can be told why."""
