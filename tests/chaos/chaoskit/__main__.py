"""`make chaos`: break a deployment in every way known, for a while, and look whether it held."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from chaoskit import page
from chaoskit.checks import violations
from chaoskit.faults import FORMS, Form
from chaoskit.records import Index, Records
from chaoskit.report import slowest, table
from chaoskit.run import CLOUDS, Run, say

SHOWN = 20  # violations of a kind


def main() -> int:
    options = _options()
    form = _form(options)
    folder = Path(tempfile.mkdtemp(prefix="torpor-chaos-"))
    folder.chmod(0o755)  # Postgres runs as another user where this one is root
    say(f"seed {options.seed}; logs are in {folder}")
    began = time.monotonic()
    index = Index(asyncio.run(_until_told(Run(options.seed, form, folder, options.provisioner))))
    found = violations(index)
    say(f"\nseed {options.seed}, {time.monotonic() - began:,.0f} s\n")
    say(table(index, found))
    for sentence in slowest(index):
        say(f"slow: {sentence}")
    broken = sum(map(len, found.values()))
    for name, sentences in found.items():
        for sentence in sentences[:SHOWN]:
            say(f"{name}: {sentence}")
    if options.page is not None:
        heading = page.HEADINGS[options.provisioner]
        seconds = time.monotonic() - began
        page.write(options.page, heading, table(index, found), options.seed, seconds)
    if broken:
        say(
            f"{broken} violations; repeat with --provisioner {options.provisioner} "
            f"--seed {options.seed}; logs are in {folder}"
        )
        return 1
    if not options.keep:
        shutil.rmtree(folder)
    return 0


async def _until_told(run: Run) -> Records:
    """Once told to end, the run breaks nothing more and is looked at as it is; told twice, it
    stops where it stands. Either way it leaves nothing behind."""
    task = asyncio.current_task()
    assert task is not None

    def told() -> None:
        if run.enough:
            task.cancel()
        run.enough = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)
    return await run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--provisioner", choices=CLOUDS, default="chaos", help="and its cloud")
    parser.add_argument("--short", action="store_true", help="the form for CI: about a minute")
    parser.add_argument("--wakes", type=int, help="end after so many")
    parser.add_argument("--minutes", type=float, help="end the faults after so long")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that held")
    parser.add_argument("--page", type=Path, help="write the table into this page")
    return parser.parse_args()


def _form(options: argparse.Namespace) -> Form:
    long, short = FORMS[options.provisioner]
    form = short if options.short else long
    if options.wakes is not None:
        form = replace(form, wakes=options.wakes)
    if options.minutes is not None:
        form = replace(form, minutes=options.minutes)
    return form


if __name__ == "__main__":
    sys.exit(main())
