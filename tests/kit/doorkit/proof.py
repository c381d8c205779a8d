"""docs/proof.md, from what a run of the door's tests left: `python -m doorkit.proof JUNIT PAGE`.

Every line is a test case of that run. A case that failed, or did not run, is told as such, and
then the exit code is 1. What stands in the page from `BY_HAND` on is kept as it is.
"""

from __future__ import annotations

import platform
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree as ET

_SECTION = re.compile(r"section_((?:\d+_)+)(?:of_rfc_7540_|and_(?:\d+_)+)?(.*)")
_CASE = re.compile(r"([\d.]+) (.*)")
BY_HAND = "## By hand"
_STAGES = ("waiting", "paired", "refused")


@dataclass
class Case:
    """One test of the run. `parameters` are what stands in brackets behind its name."""

    file: str
    test: str
    parameters: str
    passed: bool
    measured: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        return self.test.removeprefix("test_").replace("_", " ")


def read(junit: Path) -> list[Case]:
    cases = []
    for each in ET.parse(junit).getroot().iter("testcase"):
        test, _, parameters = each.attrib["name"].partition("[")
        file = each.attrib["classname"].rpartition(".")[2]
        passed = all(each.find(bad) is None for bad in ("failure", "error", "skipped"))
        told = {p.attrib["name"]: p.attrib["value"] for p in each.iter("property")}
        cases.append(Case(file, test, parameters.removesuffix("]"), passed, told))
    return cases


def page(cases: list[Case]) -> str:
    parts = [_INTRO.format(count=len(cases), run=_run())]
    parts += ["## Interop", _INTEROP, _interop(_of(cases, "test_interop"))]
    parts += ["## Client libraries", _LIBRARIES, _libraries(_of(cases, "test_client_libraries"))]
    parts += ["## Conformance", _CONFORMANCE]
    parts += ["### RFC 9113 (HTTP/2)", _conformance(_of(cases, "test_rfc9113_"))]
    parts += ["### RFC 7541 (HPACK)", _conformance(_of(cases, "test_rfc7541_"))]
    parts += ["## Abuse", _ABUSE]
    parts += ["### Floods", _plain(_of(cases, "test_abuse_floods"))]
    parts += ["### Slow, silent and many", _plain(_of(cases, "test_abuse_patience"))]
    parts += ["### Slow readers", _plain(_of(cases, "test_abuse_slow_reader"))]
    parts += ["### Strangers", _plain(_of(cases, "test_abuse_strangers"))]
    parts += ["## Attacks", _ATTACKS, _plain(_of(cases, "test_abuse_attacks"))]
    parts += ["## Leaks", _LEAKS, _plain(_of(cases, "test_abuse_leaks"))]
    return "\n\n".join(parts) + "\n"


def _run() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "uvloop", "hpack"))
    return f"{platform.system()}, Python {platform.python_version()}, {packages}"


def _of(cases: Iterable[Case], file: str) -> list[Case]:
    return [each for each in cases if each.file.startswith(file)]


def _interop(cases: list[Case]) -> str:
    columns = sorted({each.parameters for each in cases}, key=lambda told: told[::-1])[::-1]
    rows = _by(cases, lambda each: each.test)
    return _table(
        ["case", *(told.replace("-", ", ", 1) for told in columns)],
        (
            [f"`{test.removeprefix('test_')}`", *(_told(of, told) for told in columns)]
            for test, of in rows.items()
        ),
    )


def _libraries(cases: list[Case]) -> str:
    """A column for each library; hot and cold stand in one cell."""
    columns = sorted({_library(each) for each in cases})
    rows = _by(cases, lambda each: each.words)
    return _table(
        ["case", *columns],
        (
            [words, *(_result([c for c in of if _library(c) == name]) for name in columns)]
            for words, of in rows.items()
        ),
    )


def _library(case: Case) -> str:
    """What its parameters name beside hot or cold."""
    return "-".join(each for each in case.parameters.split("-") if each not in ("hot", "cold"))


def _told(cases: list[Case], parameters: str) -> str:
    return _result([each for each in cases if each.parameters == parameters])


def _conformance(cases: list[Case]) -> str:
    rows = _by(cases, _section)
    numbered = sorted(rows.items(), key=lambda row: [int(n) for n in row[0][0].split(".")])
    return _table(
        ["section", "case", *_STAGES],
        (
            [section, what, *(_result(_staged(of, stage)) for stage in _STAGES)]
            for (section, what), of in numbered
        ),
    )


def _section(case: Case) -> tuple[str, str]:
    """The RFC's section, and what is tried."""
    told = _without_stage(case.parameters)
    if found := _SECTION.search(case.test):
        section = found[1].rstrip("_").replace("_", ".")
        what = found[2].replace("_", " ")
        return section, f"{what}: {told}" if told else what
    if found := _CASE.fullmatch(told):
        return found[1], f"{found[2]} ({case.words})"
    raise ValueError(f"{case.test} names no section")


def _without_stage(parameters: str) -> str:
    return "-".join(word for word in parameters.split("-") if word not in _STAGES)


def _staged(cases: list[Case], stage: str) -> list[Case]:
    """Those of that stage; a case that knows no stages was tried on a connection of its own."""
    others = set(_STAGES) - {stage}
    return [each for each in cases if others.isdisjoint(each.parameters.split("-"))]


def _plain(cases: list[Case]) -> str:
    measured = any(each.measured for each in cases)
    head = ["case", "result", *(["measured"] if measured else [])]
    rows = _by(cases, _name)
    return _table(
        head,
        ([name, _result(of), *([_measured(of)] if measured else [])] for name, of in rows.items()),
    )


def _name(case: Case) -> str:
    told = case.parameters
    return f"{case.words}: {told}".replace("_", " ") if told else case.words


def _measured(cases: list[Case]) -> str:
    return "; ".join(f"{k}: {v}" for each in cases for k, v in each.measured.items())


def _result(cases: list[Case]) -> str:
    if not cases:
        return "-"
    good = sum(each.passed for each in cases)
    if good < len(cases):
        return f"**{len(cases) - good} of {len(cases)} failed**"
    return "passed" if good == 1 else f"passed ({good})"


K = TypeVar("K")


def _by(cases: Iterable[Case], key: Callable[[Case], K]) -> dict[K, list[Case]]:
    rows: defaultdict[K, list[Case]] = defaultdict(list)
    for each in cases:
        rows[key(each)].append(each)
    return rows


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [
        head,
        ["---"] * len(head),
        *([each.replace("|", "\\|") for each in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_INTRO = """# What the door was tried with

Written by `make proof` from the results of a run: {count} cases, {run}. Each case goes through a
listening door, over a socket, to a real worker (grpc.aio's server); only the gate, which says
whether a satellite is awake, and the directory are stood in for."""

_INTEROP = """gRPC's own interop cases (grpc/doc/interop-test-descriptions.md), with both of
Python's clients. Hot: the satellite is awake. Cold: it sleeps, and the call is held until it wakes.
"""

_LIBRARIES = """Client libraries as they are, each in a process of its own, do what they do by
themselves: grpc-go as Debian packages it, grpc-js from npm and grpcio. (n): so many variants, hot
and cold."""

_CONFORMANCE = """In the manner of h2spec's cases, in the three states in which the door must know
the rules: while the connection's satellite wakes, once it is paired with a worker, and where the
door itself has refused the client's requests. (n): so many variants."""

_ABUSE = """Each ends with the right HTTP/2 error on the connection it came on, while a neighbour's
open stream goes both ways and its calls are answered."""

_ATTACKS = """
One attacker at a time, with the limits as they ship, against a door in a process of its own: a
client without credentials, before, inside or without TLS, or a hostile worker, that sends as fast
as it can and mostly does not read. Each test asks for less than 20 MiB of growth, no turn of the
loop over 100 pieces of work (50 ms of CPU on a core that has nothing else to do; a piece is timed
in the same process all the while), no traceback, and a neighbour whose calls are answered
meanwhile.

Measured on two cores under load 10 to 15 in the short form (1.5 s each): clients (20 kinds) and
workers (11 kinds, each reading or not, acknowledging SETTINGS or not) took turns of 1 to 16 ms;
of 60 strangers' connections that were ready at once the longest was 14 ms. Fifty connections at
once to a listener with TLS (7 kinds: silent, half a ClientHello, ClientHello and gone, whole
handshakes, garbage instead of and inside TLS, a handshake inside) made it grow by 0.3 to 8 MiB,
with turns of 1 to 7 ms. What that took: a read stops between two frames once it has had its share
of the turn (38 ms before, for a worker's HEADERS without acknowledgement); eight handshakes begin
in a turn; what start-up made is left out of garbage collections (32 ms before); and a connection
that is over leaves nothing to collect. Of 6,000 TLS connections that came and went 8 MiB stayed;
before that mend 120, and one collection held everyone up for 347 ms."""

_LEAKS = """Forty connections come and go in each way. Afterwards there is no connection, pair or
held request left in memory, no open file, no task and no count."""


def main() -> int:
    junit, target = map(Path, sys.argv[1:3])
    cases = read(junit)
    _, begun, by_hand = target.read_text().partition(f"\n{BY_HAND}\n")
    target.write_text(page(cases) + begun + by_hand)
    failed = [each for each in cases if not each.passed]
    print(f"{target}: {len(cases)} cases, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
