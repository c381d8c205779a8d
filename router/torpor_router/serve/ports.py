"""Whether somebody listens already, which SO_REUSEPORT keeps quiet about."""

from __future__ import annotations

import socket


def cannot_bind(host: str, port: int) -> OSError | None:
    """Why a socket that shares with nobody could not listen there; None if it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            alone.bind((host, port))
        except OSError as error:
            return error
    return None
