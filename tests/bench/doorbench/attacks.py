"""Attacks side by side: what one client without credentials does to a neighbour of each subject.

``python -m doorbench.attacks --page docs/proof.md`` measures the neighbour's calls without an
attack and under each one, subject by subject, and writes the table under its heading. The attacker
is a process of its own on the core of the load, nicer than the neighbour; the subject has the other
core. (`python -m doorbench.attacks attack PORT NAME SECONDS` is that process.)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from doorbench.certificate import certificate
from doorbench.envoy import Envoy
from doorbench.machine import Cores, Missing, allow_sockets, cost, pinned
from doorbench.nginx import Nginx
from doorbench.subject import Bench, Subject
from doorbench.torpor import PlainTorpor
from doorbench.worker import UNARY
from doorkit.attacks import CLIENTS, attack
from doorkit.frames import FrameClient, message
from doorkit.tls_attacks import TLS, tls_attack

from torpor_provisioner.contract import Address
from torpor_router.h2.wire import END_STREAM, Kind, frame

HEADING = "### A neighbour's calls, beside other proxies"
PAUSE = 0.005  # seconds between two calls of the neighbour's
GIVES_UP = 10.0  # seconds for one of them
MIB = 1 << 20
LOST = float("inf")


class AsShipped(PlainTorpor):
    """With the limits that everybody has, from its source."""

    name = "Torpor"
    limits = ()


SUBJECTS: tuple[type[Subject], ...] = (AsShipped, Nginx, Envoy)


@dataclass(frozen=True)
class Under:
    """`added`: seconds by which the neighbour's p99 was more than without the attack."""

    added: float
    growth: float  # MiB
    calls: int


async def neighbour(subject: Subject, seconds: float) -> list[float]:
    """Calls one after the other, on a connection that is opened again where it is lost; seconds
    that each took."""
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError, AssertionError):
            client = await FrameClient.connect(Address("127.0.0.1", subject.target.port))
            try:
                async for each in _calls(client, subject, until):
                    took.append(each)  # noqa: PERF401 - what came before an error counts
            finally:
                await client.aclose()
    return took


async def _calls(client: FrameClient, subject: Subject, until: float) -> AsyncIterator[float]:
    basic = {":method": "POST", ":scheme": "http", ":path": UNARY, ":authority": "localhost"}
    pairs = [(k.encode(), v.encode()) for k, v in (*basic.items(), *subject.target.fields())]
    stream = 1
    while time.monotonic() < until:
        began = time.monotonic()
        client.send(client.request(stream, tuple(pairs), end=False))
        client.send(frame(Kind.DATA, END_STREAM, stream, message(bytes(95))))
        try:
            async with asyncio.timeout(GIVES_UP):
                await client.ended(stream)
        except TimeoutError:
            yield GIVES_UP
            return
        yield time.monotonic() - began
        client.frames.clear()
        stream += 2
        await asyncio.sleep(PAUSE)


def p99(took: list[float]) -> float:
    return quantiles(took, n=100)[98] if len(took) > 1 else LOST


def under(subject: Subject, name: str, seconds: float, load: int, quiet: float) -> Under:
    port = subject.target.tls_port if name in TLS else subject.target.port
    before = cost(subject.pids).memory
    most = before

    async def measured() -> list[float]:
        nonlocal most
        words = ("-m", "doorbench.attacks", "attack", str(port), name, str(seconds))
        attacker = await asyncio.create_subprocess_exec(
            *pinned(load, "nice", "-n", "5", sys.executable, *words)
        )
        calling = asyncio.create_task(neighbour(subject, seconds + 1))
        while not calling.done():
            await asyncio.sleep(0.25)
            most = max(most, cost(subject.pids).memory)
        await attacker.wait()
        return await calling

    took = asyncio.run(measured())
    return Under(p99(took) - quiet, (most - before) / MIB, len(took))


def measure(subject: Subject, names: list[str], seconds: float, load: int) -> dict[str, Under]:
    """By attack. The quiet p99 is taken before each, so that what others do counts for both."""
    found = {}
    for name in names:
        quiet = p99(asyncio.run(neighbour(subject, seconds)))
        found[name] = under(subject, name, seconds, load, quiet)
        print(f"{subject.name}, {name}: quiet {quiet * 1e3:.1f} ms, {found[name]}", flush=True)
    return found


def table(names: list[str], found: dict[str, dict[str, Under]]) -> str:
    head = ["attack", *(f"{each}: ms, MiB" for each in found)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in names:
        cells = [_cell(of[name]) for of in found.values()]
        lines.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join(lines) + "\n"


def _cell(of: Under) -> str:
    if of.added == LOST:
        return "no call was answered"
    return f"{max(0.0, of.added) * 1e3:.0f}, {of.growth:.0f}"


def write(page: Path, told: str) -> None:
    before, _, after = page.read_text().partition(HEADING)
    rest = after[after.index("\n##") :] if "\n##" in after else ""
    page.write_text(f"{before}{HEADING}\n\n{told}{rest}")


def compare(names: list[str], seconds: float) -> tuple[str, list[str]]:
    """The table, and which subjects are not here."""
    files = allow_sockets()
    cores = Cores.choose()
    missing, found = [], {}
    with tempfile.TemporaryDirectory(prefix="attacks-") as kept:
        folder = Path(kept)
        folder.chmod(0o755)
        bench = Bench(cores, folder, certificate(folder), files)
        os.sched_setaffinity(0, {cores.load})
        for kind in SUBJECTS:
            subject = kind(bench)
            try:
                subject.check()
            except Missing as error:
                missing.append(str(error))
                continue
            with subject.started():
                found[subject.name] = measure(subject, names, seconds, cores.load)
    return table(names, found), missing


def main() -> None:
    if sys.argv[1:2] == ["attack"]:
        port, name, seconds = sys.argv[2:]
        address = Address("127.0.0.1", int(port))
        work: Callable[[], object] = (
            (lambda: asyncio.run(tls_attack(address, name, float(seconds))))
            if name in TLS
            else (lambda: asyncio.run(attack(address, CLIENTS[name], float(seconds))))
        )
        work()
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each attack [3]")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    parser.add_argument("names", nargs="*", help="attacks; all of them where none is named")
    options = parser.parse_args()
    told, missing = compare(options.names or [*CLIENTS, *TLS], options.seconds)
    print(told, *missing, sep="\n")
    if options.page is not None:
        left = "".join(f"Left out: {each}.\n\n" for each in missing)
        write(options.page, f"{_WORDS.format(seconds=options.seconds)}\n{left}{told}")


_WORDS = """What one attacker adds to the p99 of a neighbour's calls (ms), and how much more memory
the subject holds at its worst (MiB), {seconds:g} s each. Torpor looks up who calls; the others know
one upstream and ask nobody. The neighbour calls every 5 ms; 10,000 ms is one given up.
"""


if __name__ == "__main__":
    main()
