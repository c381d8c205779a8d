"""Runs initdb and postgres in a folder, as the account they belong to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torpor_provisioner.accounts import Ids
from torpor_statemachine.postgres.embedded.access import FILE
from torpor_statemachine.postgres.embedded.account import Account
from torpor_statemachine.postgres.embedded.binaries import Binaries
from torpor_statemachine.postgres.embedded.errors import FolderUnusable
from torpor_statemachine.postgres.embedded.launcher import Order

LAUNCHER = Path(__file__).with_name("launcher.py")
# What postgres calls its data folder where its account may not enter the folders above it: the
# launcher has entered it already, and postgres itself never leaves it.
_HERE = Path("/proc/self/cwd")


@dataclass(frozen=True, slots=True)
class Programs:
    """`log` takes what they print."""

    binaries: Binaries
    account: Account
    log: Path

    async def initdb(self, data: Path, *, durable: bool) -> Process:
        """Start making a database cluster in `data`, an empty folder.

        What it says of who is let in holds for programs that start the server without
        `access.FILE`: the owner alone.
        """
        return await self._start(
            data,
            [
                str(self.binaries.initdb),
                *("--pgdata", str(self._name_of(data))),
                *("--username", self.account.owner),
                *("--auth-local=peer", "--auth-host=reject"),
                *("--encoding=UTF8", "--locale=C", "--no-instructions"),
                *(() if durable else ("--no-sync",)),
            ],
            account=self.account.maker,
        )

    async def postgres(
        self, data: Path, sockets: Path, settings: dict[str, str], *, inherits: int
    ) -> Process:
        """Start the server in the foreground; `inherits` stays open in all its processes."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(sockets),
            "unix_socket_permissions": "0700",
            "hba_file": str(self._name_of(data) / FILE),
            "log_checkpoints": "off",
            **settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return await self._start(
            data,
            [str(self.binaries.postgres), "-D", str(self._name_of(data)), *options],
            account=self.account.ids,
            inherits=[inherits],
        )

    async def _start(
        self, folder: Path, command: list[str], account: Ids, inherits: Collection[int] = ()
    ) -> Process:
        order = Order(
            command=command,
            folder=str(folder),
            account=account if self.account.drops else None,
            parent=os.getpid(),
        )
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(order)),
                stdin=PIPE,  # ends when this process does
                stdout=log,
                stderr=log,
                env=_environment(),
                pass_fds=tuple(inherits),
                start_new_session=True,  # Ctrl-C is for the owner, which then stops it in order
            )

    def _name_of(self, data: Path) -> Path:
        if self.account.may_enter(data):
            return data
        if sys.platform != "linux":
            raise FolderUnusable(
                f"its account may not enter {data.parent}, and root runs it as that"
            )
        return _HERE


def _environment() -> dict[str, str]:
    """Without PGDATA and the like, which are meant for other servers, and in plain English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}
