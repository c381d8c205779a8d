"""Which context one command uses; the file is read once, and only if something of it is needed."""

from __future__ import annotations

from functools import cached_property

from torpor_router.cli.contexts import file
from torpor_router.cli.contexts.book import Context, Contexts
from torpor_router.cli.contexts.errors import NoHome, NoSuchContext
from torpor_router.names import DEFAULT_DOOR_PORT, read_address


class Choice:
    """`wanted` is the context's name, the selected one's if empty.

    With `address`, written as `read_address` reads it, a context of another router is not used:
    neither its token nor anything else of it may go there.
    """

    def __init__(self, wanted: str = "", address: str | None = None) -> None:
        self._wanted = wanted
        self._address = address

    def __repr__(self) -> str:
        return f"<Choice {self._wanted or 'of the selected context'}>"

    @property
    def name(self) -> str:
        """The context's name; empty if none is used."""
        return self._found[0]

    @property
    def context(self) -> Context | None:
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[str, Context | None]:
        contexts = self._contexts()
        name = self._wanted or contexts.selected
        if not name:
            return "", None
        context = contexts.by_name.get(name)
        if context is None:
            raise NoSuchContext(name)
        return (name, context) if self._reaches(context) else ("", None)

    def _contexts(self) -> Contexts:
        try:
            return file.read()
        except NoHome:
            if self._wanted:
                raise
            return Contexts()

    def _reaches(self, context: Context) -> bool:
        def read(text: str) -> tuple[str, int]:
            host, port = read_address(text.strip(), DEFAULT_DOOR_PORT)
            return host.lower(), port

        try:
            return self._address is None or read(self._address) == read(context.address)
        except ValueError:  # the command says so of its address
            return False
