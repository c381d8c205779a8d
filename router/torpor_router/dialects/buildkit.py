"""BuildKit's control API, ``moby.buildkit.v1.Control``: buildctl, docker buildx, EarthBuild."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from torpor_router.dialects.messages.buildkit_looks_pb2 import InfoResponse, ListWorkersResponse
from torpor_router.dialects.purpose import Purpose
from torpor_router.errors import NoCertificate, NoSatelliteInName

SERVICES = (b"/moby.",)
NO_SATELLITE, NO_CREDENTIALS = NoSatelliteInName, NoCertificate  # it sends no metadata of a user's

_CONTROL = b"/moby.buildkit.v1.Control/"
_BRIDGE = b"/moby.buildkit.v1.frontend.LLBBridge/"
STATUS = _CONTROL + b"Status"
SOLVE, SESSION = _CONTROL + b"Solve", _CONTROL + b"Session"
_LIST, _INFO = _CONTROL + b"ListWorkers", _CONTROL + b"Info"
_PING, _RETURN = _BRIDGE + b"Ping", _BRIDGE + b"Return"
SERVING = (STATUS, SESSION)

PURPOSES = {
    _LIST: Purpose.LOOKS,
    _INFO: Purpose.LOOKS,
    _PING: Purpose.LOOKS,
    SOLVE: Purpose.OPENS,
    SESSION: Purpose.OPENS,
    STATUS: Purpose.PROGRESS,
    _RETURN: Purpose.RETURNS,
}

# What a client asks for next, and gives up in 15 s: a build that begins with an answer of before
# must be able to go on with one
ASKED_NEXT = {_LIST: _PING}


def _info(workers: bytes) -> bytes | None:
    """The answer to Info, of a worker that has answered ListWorkers: its version, and no more."""
    try:
        for worker in ListWorkersResponse.FromString(workers).record:
            if worker.buildkit_version:
                return InfoResponse(buildkit_version=worker.buildkit_version).SerializeToString()
    except DecodeError:
        pass
    return None


# Whose last answer says all that an answer to this look would, and how it is read there
CONTAINED_IN = {_INFO: (_LIST, _info)}

# What a build's calls are answered if it is ended before it asked for anything to be solved (that
# is LLBBridge/Solve): the empty response of a unary call, the end of a stream
ENDED = {SOLVE: (b"",), _RETURN: (b"",), SESSION: (), STATUS: ()}

# LLBBridge/Return's request where it names no result and no error, in protobuf's own octets
NOTHING = frozenset(
    (
        b"",
        b"\x0a\x00",  # result {}
        b"\x0a\x02\x1a\x00",  # result {ref {}}
        b"\x0a\x02\x0a\x00",  # result {refDeprecated: ""}
    )
)

# In the metadata of a build's LLBBridge calls; its Solve, Status and Session carry none
BUILD_ID = b"buildkit-controlapi-buildid"


def build(value: bytes) -> str | None:
    """The build that `BUILD_ID` names."""
    return value.decode("ascii", "replace") or None
