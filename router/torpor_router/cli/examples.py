"""An example at the end of a command's help."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from textwrap import indent
from typing import Any, TypeVar

_Command = TypeVar("_Command", bound=Callable[..., Any])


def with_example(example: str) -> Callable[[_Command], _Command]:
    """Add the lines to the docstring of a function that is yet to become a click command."""

    def decorate(function: _Command) -> _Command:
        text = cleandoc(function.__doc__ or "")
        function.__doc__ = f"{text}\n\n\b\nFor example:\n{indent(cleandoc(example), '  ')}"
        return function

    return decorate
