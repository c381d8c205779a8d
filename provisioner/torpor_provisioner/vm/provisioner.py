"""The provisioner itself: the contract's calls, each carried out in a thread of its own loop.

What moves machines reads and writes small files all the time, and waits for disks: none of that
may hold up the loop that builds are relayed on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import Future
from contextvars import Context
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

from torpor_provisioner import deadline
from torpor_provisioner.contract import MachineState, Observed, SleepKind, Spec
from torpor_provisioner.errors import Gone, ProvisionerError
from torpor_provisioner.vm import compressed
from torpor_provisioner.vm.errors import NoFence
from torpor_provisioner.vm.hypervisor import Hypervisor
from torpor_provisioner.vm.machine import Machine
from torpor_provisioner.vm.machines import Machines
from torpor_provisioner.vm.qemu import Qemu
from torpor_provisioner.vm.settings import VmSettings

RESTS = 600.0  # seconds
logger = logging.getLogger(__name__)
T = TypeVar("T")


class VmProvisioner:
    """Satellites below `data_dir`, shared by every process that is given the same folder."""

    def __init__(
        self, data_dir: Path, settings: VmSettings, hypervisor: Hypervisor | None = None
    ) -> None:
        made = hypervisor or Qemu(settings.accelerator, settings.qemu)
        self._machines = Machines(data_dir.resolve(), settings, made)
        self._compress_after = settings.compress_after if compressed.is_here() else 0.0
        self._thread = _LoopThread()
        self._settling: dict[str, asyncio.Task[None]] = {}  # of the thread's loop
        self._compressing: asyncio.Task[None] | None = None  # as well
        self._rests_until = 0.0  # and compresses nothing, after it has failed

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data: Path) -> Self:
        """For the registry: `data` is the node's data folder; see VmSettings for `environ`.

        Raises:
            Invalid: a variable cannot be read.
            NoHypervisor: QEMU is not here.
        """
        settings = VmSettings.from_environment(environ, data / "vm")
        settings.check_accounts()
        hypervisor = Qemu(settings.accelerator, settings.qemu)
        traits = hypervisor.traits()
        if traits.accelerator == "tcg":
            logger.warning("there is no KVM: machines are emulated, some ten times slower")
        return cls(data / "vm", settings, hypervisor)

    @property
    def folder(self) -> Path:
        """Where everything lies; `read_calls(provisioner.folder)` tells what was done."""
        return self._machines.folder

    def __repr__(self) -> str:
        return f"<VmProvisioner {self.folder}>"

    async def launch(self, spec: Spec, token: str) -> str:
        async def launched() -> str:
            machine = await asyncio.to_thread(self._machines.launch, spec, token)
            await machine.start()
            return machine.ref

        return await self._thread.run(launched)

    async def wake(self, ref: str) -> None:
        await self._thread.run(self._machines.machine(ref).wake)

    async def sleep(self, ref: str, how: SleepKind) -> None:
        machine = self._machines.machine(ref)

        async def asleep() -> None:
            await machine.sleep(how)
            self._settle(machine)

        await self._thread.run(asleep)

    async def terminate(self, ref: str) -> None:
        await self._thread.run(lambda: self._machines.terminate(ref))

    async def observe(self, refs: Collection[str]) -> Mapping[str, Observed]:
        known = tuple(refs)

        async def observed() -> dict[str, Observed]:
            if self._machines.is_open:
                await self._look_at_fence()
            return {ref: self._observe(ref) for ref in known}

        return await self._thread.run(observed)

    async def owned(self) -> Mapping[str, tuple[UUID, int]]:
        async def owned() -> dict[str, tuple[UUID, int]]:
            return self._machines.owned()

        return await self._thread.run(owned)

    async def check(self, spec: Spec) -> None:
        async def checked() -> None:
            self._machines.check(spec)

        await self._thread.run(checked)

    async def aclose(self) -> None:
        """What is being put safely on the disk gets there first."""

        async def settled() -> None:
            if self._compressing is not None:
                self._compressing.cancel()
                await asyncio.wait((self._compressing,))
            await asyncio.gather(*self._settling.values())

        await self._thread.run(settled)
        await self._thread.aclose()

    async def _look_at_fence(self) -> None:
        try:
            await asyncio.to_thread(self._machines.keep_fence, now=False)
        except NoFence as error:
            logger.critical("machines have a way out that nothing guards: %s", error)

    def _observe(self, ref: str) -> Observed:
        try:
            machine = self._machines.machine(ref)
            if not machine.is_settled():
                self._settle(machine)
            elif self._compress_after and machine.is_to_compress(self._compress_after):
                self._compress(machine)
            return machine.observe()
        except Gone as gone:
            return Observed(MachineState.GONE, detail=gone.detail)

    def _settle(self, machine: Machine) -> None:
        """Beside the look: it may take as long as a memory takes to the disk."""
        if machine.ref not in self._settling:
            task = asyncio.get_running_loop().create_task(self._settled(machine))
            self._settling[machine.ref] = task
            task.add_done_callback(lambda _: self._settling.pop(machine.ref))

    def _compress(self, machine: Machine) -> None:
        """Beside the look as well, one at a time."""
        if self._compressing is None and time.monotonic() >= self._rests_until:
            create = asyncio.get_running_loop().create_task
            # It is no part of the look, whose time is short.
            self._compressing = Context().run(create, self._compressed(machine))

    async def _compressed(self, machine: Machine) -> None:
        try:
            with compressed.alone(self.folder) as lock:
                if lock is not None:
                    await machine.compress(lock)
        except Gone:
            logger.debug("%r was terminated meanwhile", machine)
        except ProvisionerError as error:
            self._rests_until = time.monotonic() + RESTS
            logger.warning("%r is not compressed: %s", machine, error)
        except Exception:
            self._rests_until = time.monotonic() + RESTS
            logger.exception("%r is not compressed", machine)
        finally:
            self._compressing = None

    @staticmethod
    async def _settled(machine: Machine) -> None:
        try:
            await machine.settle()
        except ProvisionerError as error:
            logger.info("%r is not settled: %s", machine, error)
        except Exception:
            logger.exception("%r is not settled", machine)


class _LoopThread:
    """An event loop in a thread of its own, started with the first call."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """In the thread, which is told the deadline of the call. A call that is cancelled ends
        when its work does: what that has begun is done by then, and nothing is begun any more."""
        with deadline.given(deadline.keep()) as own:

            async def in_time() -> T:
                with deadline.given(own.left):
                    return await work()

            running: Future[T] = asyncio.run_coroutine_threadsafe(in_time(), self._started())
            result = asyncio.wrap_future(running)
            try:
                return await asyncio.shield(result)
            except asyncio.CancelledError:
                own.pass_now()
                await asyncio.gather(result, return_exceptions=True)
                raise

    async def aclose(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join)
            self._loop.close()
            self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.SelectorEventLoop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="vm-provisioner", daemon=True
            )
            self._thread.start()
        return self._loop
