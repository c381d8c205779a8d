"""Whether somebody listens already, which SO_REUSEPORT keeps quiet about."""

from __future__ import annotations

from torpor_router.door import bound


def cannot_bind(host: str, port: int) -> OSError | None:
    """Why a socket that shares with nobody could not listen there; None if it could."""
    try:
        bound(host, port).close()
    except OSError as error:
        return error
    return None
