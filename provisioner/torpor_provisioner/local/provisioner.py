"""The provisioner itself: which machines there are, and the contract's calls on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

from torpor_provisioner import deadline
from torpor_provisioner.contract import MachineState, Observed, SleepKind, Spec
from torpor_provisioner.errors import Gone, ProvisionerError
from torpor_provisioner.local import cgroup
from torpor_provisioner.local.machine import Machine
from torpor_provisioner.local.machine_folder import MachineFolder
from torpor_provisioner.local.settings import LocalSettings

logger = logging.getLogger(__name__)
T = TypeVar("T")

THREADS = 8  # that may wait for a machine's lock at once


class LocalProvisioner:
    """Satellites below `data_dir`, shared by every process that is given the same folder.

    Blocking work runs in threads of its own. With the default timing a call is done when it
    returns; with delays, this process also carries the rest out when it is due, and if it is
    killed before, the next call or look does.
    """

    def __init__(self, data_dir: Path, settings: LocalSettings | None = None) -> None:
        self._machine_folder = MachineFolder(data_dir.resolve(), settings or LocalSettings())
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="local-provisioner")
        self._later: set[asyncio.Task[None]] = set()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data: Path) -> Self:
        """For the registry: `data` is the node's data folder; see LocalSettings for `environ`.

        Raises:
            Invalid: a variable cannot be read.
            NoAccount: this is root, and workers cannot run here as anyone else.
        """
        settings = LocalSettings.from_environment(environ)
        if on_ports := settings.workers_on_ports():
            logger.warning(
                "the workers %s listen on ports of %s: every account of this machine reaches them"
                " past the door; where they can, let their commands name {socket}",
                on_ports,
                settings.host,
            )
        if not cgroup.can_be_made():
            logger.info(
                "satellites have no cgroups of their own here: a build that kills its worker's"
                " keeper can get away from its satellite"
            )
        settings.check_accounts(data)
        return cls(data / "local", settings)

    @property
    def folder(self) -> Path:
        """Where everything lies; `read_calls(provisioner.folder)` tells what was done."""
        return self._machine_folder.folder

    def __repr__(self) -> str:
        return f"<LocalProvisioner {self.folder}>"

    async def launch(self, spec: Spec, token: str) -> str:
        machine = await self._run(lambda: self._machine_folder.launch(spec, token))
        self._go_on(machine, await self._run(machine.start))
        return machine.ref

    async def wake(self, ref: str) -> None:
        machine = self._machine_folder.machine(ref)
        self._go_on(machine, await self._run(machine.wake))

    async def sleep(self, ref: str, how: SleepKind) -> None:
        machine = self._machine_folder.machine(ref)
        self._go_on(machine, await self._run(lambda: machine.sleep(how)))

    async def terminate(self, ref: str) -> None:
        await self._run(lambda: self._machine_folder.terminate(ref))

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        known = tuple(refs)
        return await self._run(lambda: {ref: self._observe(ref) for ref in known})

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        return await self._run(self._machine_folder.owned)

    async def check(self, spec: Spec) -> None:
        await self._run(lambda: self._machine_folder.check(spec))

    async def aclose(self) -> None:
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        # In a thread: a call that waits for a machine's lock may last
        await asyncio.to_thread(self._threads.shutdown)

    def _observe(self, ref: str) -> Observed:
        try:
            return self._machine_folder.machine(ref).observe()
        except Gone as gone:
            return Observed(MachineState.GONE, detail=gone.detail)

    async def _run(self, work: Callable[[], T]) -> T:
        """In a thread, which is told the deadline of the call. A call that is cancelled ends when
        its thread does: what that has begun is done by then, and nothing is begun any more."""
        with deadline.given(deadline.keep()) as own:

            def in_time() -> T:
                with deadline.given(own.left):
                    return work()

            running = self._threads.submit(in_time)
            result = asyncio.wrap_future(running)
            try:
                return await asyncio.shield(result)
            except asyncio.CancelledError:
                own.pass_now()
                if not running.cancel():
                    await asyncio.gather(result, return_exceptions=True)
                raise

    def _go_on(self, machine: Machine, delay: float) -> None:
        if delay > 0:
            task = asyncio.create_task(self._observe_after(machine, delay))
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def _observe_after(self, machine: Machine, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            await self._run(machine.observe)
        except ProvisionerError as error:
            logger.info("%r did not go on: %s", machine, error)
