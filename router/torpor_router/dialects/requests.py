"""What a request says of itself, in whichever client's words: its purpose, and its build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torpor_router.dialects import (
    bazel,
    buildkit,
    buildkit_progress,
    buildkit_session,
    opentelemetry,
)
from torpor_router.dialects.progress import NarratorOf
from torpor_router.dialects.purpose import Purpose
from torpor_router.h2.fields import Field

_PURPOSES: Mapping[bytes, Purpose] = {
    **opentelemetry.PURPOSES,
    **bazel.PURPOSES,
    **buildkit.PURPOSES,
}
PATHS = tuple(_PURPOSES)  # of the methods whose calls are not like all others
_BUILDS: Mapping[bytes, Callable[[bytes], str | None]] = {
    buildkit.BUILD_ID: buildkit.build,
    bazel.REQUEST_METADATA: bazel.build,
}
_NARRATORS: Mapping[bytes, NarratorOf] = {
    buildkit.STATUS: buildkit_progress.Step,
    buildkit.SESSION: buildkit_session.Session,
}
_LONGEST = 200  # characters of a build's id


def purpose_of(path: bytes) -> Purpose:
    """What a call of the method at `path` (``/package.Service/Method``) is for."""
    return _PURPOSES.get(path, Purpose.WORK)


def build_of(fields: Iterable[Field]) -> str | None:
    """The build that a request is part of, as its client names it.

    None where it names none: then all such requests of its connection are one build.
    """
    for name, value, *_ in fields:
        read = _BUILDS.get(name)
        if read is not None and (build := read(value)):
            return build[:_LONGEST]
    return None


def contained_in(path: bytes) -> tuple[bytes, Callable[[bytes], bytes | None]] | None:
    """The look whose answer says all that an answer to this one does, and how to read it there."""
    return buildkit.CONTAINED_IN.get(path)


def next_look(path: bytes) -> bytes | None:
    """The look without whose answer a client makes nothing of the answer to this one."""
    return buildkit.ASKED_NEXT.get(path)


def ended_with(path: bytes) -> tuple[bytes, ...] | None:
    """The messages that answer a call of a build which was ended before it began to work."""
    return buildkit.ENDED.get(path)


def returns_nothing(message: bytes) -> bool:
    """Whether a call whose purpose is RETURNS ends its build without a result or an error."""
    return message in buildkit.NOTHING


def narrator_of(path: bytes) -> NarratorOf | None:
    """Who begins the answer to a call while its satellite wakes."""
    return _NARRATORS.get(path)


def is_the_build(path: bytes) -> bool:
    """Whether the method's call is a build itself."""
    return path == buildkit.SOLVE


def serves_a_build(path: bytes) -> bool:
    """Whether the method's call is of no use without the build that it serves."""
    return path in buildkit.SERVING
