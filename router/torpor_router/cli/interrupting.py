"""Ctrl-C while a command waits for what others carry out."""

from __future__ import annotations


def goes_on(command: str) -> str:
    """What is said then; `command` shows how far it is."""
    return f"\nIt goes on without you; '{command}' shows how far it is."
