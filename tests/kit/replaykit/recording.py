"""What a real client and a real worker said to each other: read, written, and played again.

A recording is a file of JSON lines, one event each, in the order in which they passed between the
two (see `recorder`):

    {"at": 0.051, "by": "client", "connection": 0, "stream": 3, "kind": "headers",
     "fields": [[":method", "POST"], [":path", "/moby.buildkit.v1.Control/Status"], ...]}

`at`          seconds since the first connection was opened
`by`          "client" or "worker"
`connection`  counts from 0; `stream` is HTTP/2's number, 0 for what is of the whole connection
`kind`        open, close      of the connection
              settings         `fields` has the names and values
              ping, goaway     with the opaque `octets`, or what GOAWAY says
              headers          a request's or a response's, `fields` in their order
              message          a gRPC message; `octets` in base64, or only its `size`
              end              the client has no more messages
              trailers         `fields`; of a response that is nothing else as well
              reset            with the `code` of RFC 9113, section 7

WINDOW_UPDATE, acknowledgements and the borders of DATA frames are left out: the player of a
recording has windows of its own. Messages above `KEPT` octets are written by their size alone, and
played as octets that are made from it: a context of a megabyte stands for one of any size. Hosts,
paths and ids in them are those of the machine that recorded.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

KEPT = 4096  # octets
CLIENT, WORKER = "client", "worker"
SPOKEN = frozenset({"headers", "message", "end", "trailers", "reset"})  # on a stream, to the other
Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Event:
    at: float
    by: str
    connection: int
    stream: int
    kind: str
    fields: Fields = ()
    octets: bytes = b""
    code: int = 0

    def __repr__(self) -> str:
        what = self.path or (f"{len(self.octets)} octets" if self.octets else "")
        return f"<{self.by} {self.connection}/{self.stream} {self.kind} {what} at {self.at:.3f}>"

    @property
    def path(self) -> str:
        """Of a request's headers; empty of anything else."""
        return dict(self.fields).get(b":path", b"").decode()

    def field(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


@dataclass(frozen=True, slots=True)
class Recording:
    events: tuple[Event, ...]

    @classmethod
    def read(cls, file: Path) -> Recording:
        return cls(tuple(_event(json.loads(line)) for line in file.read_text().splitlines()))

    def write(self, file: Path) -> None:
        lines = (json.dumps(_line(each), separators=(",", ":")) for each in self.events)
        file.write_text("".join(f"{line}\n" for line in lines))

    def calls(self) -> list[Event]:
        """The requests' headers, in order."""
        return [each for each in self.events if each.kind == "headers" and each.path]

    def on(self, call: Event) -> list[Event]:
        """All events of one call."""
        where = (call.connection, call.stream)
        return [each for each in self.events if (each.connection, each.stream) == where]

    def call(self, path: str) -> list[Event]:
        """All events of the first call of this method."""
        return self.on(next(each for each in self.calls() if each.path == path))


def filling(size: int) -> bytes:
    """A gRPC message of `size` octets, where only its size was kept; they do not repeat."""
    return b"\0" + (size - 5).to_bytes(4, "big") + Random(size).randbytes(size - 5)


def _line(event: Event) -> dict[str, object]:
    line: dict[str, object] = {
        "at": round(event.at, 3),
        "by": event.by,
        "connection": event.connection,
        "stream": event.stream,
        "kind": event.kind,
    }
    if event.fields:
        line["fields"] = [[_text(name), _text(value)] for name, value in event.fields]
    if len(event.octets) > KEPT:
        line["size"] = len(event.octets)
    elif event.octets or event.kind == "message":
        line["octets"] = base64.b64encode(event.octets).decode()
    if event.code:
        line["code"] = event.code
    return line


def _event(line: dict[str, object]) -> Event:
    size, octets, code = line.get("size"), line.get("octets", ""), line.get("code", 0)
    fields = line.get("fields", [])
    assert isinstance(octets, str)
    assert isinstance(code, int)
    assert isinstance(fields, list)
    return Event(
        at=float(str(line["at"])),
        by=str(line["by"]),
        connection=int(str(line["connection"])),
        stream=int(str(line["stream"])),
        kind=str(line["kind"]),
        fields=tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in fields),
        octets=filling(int(str(size))) if size is not None else base64.b64decode(octets),
        code=code,
    )


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")
