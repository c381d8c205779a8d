"""A cloud whose machines live in one process, shared by all nodes, with a log of its own.

It is slow at times, refuses, loses answers, shows a machine's state late, boots slowly and falls
back from hibernating to stopping. What each call meets is drawn from the seed, the machine's ref
and the number of calls that the machine has had.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from uuid import UUID, uuid4

from chaoskit.provisioner import SOCKET
from chaoskit.records import Answer, Call, Look, Name, Records
from chaoskit.worker import OPENED, Worker
from torpor_provisioner.contract import Address, Arch, MachineState, SleepKind

Gone = asyncio.Future[bytes]
NEVER = 3600.0  # seconds
_BACKLOG = 4096  # a full one refuses, which is no fault of a cloud's
_SHOWN = 8  # states remembered, for looks that show the past
_ENTRY = "[torpor.provisioners]\nchaos = chaoskit.provisioner:ChaosProvisioner\n"


class Machine:
    """Its state moves by itself from PENDING and STOPPING."""

    def __init__(
        self, ref: str, arch: Arch, address: Address, seed: int, tell: Callable[..., None]
    ) -> None:
        self.ref = self.name = ref
        self.satellite_id: UUID = uuid4()
        self.arch = arch
        self.address = address
        self.worker = Worker(address, tell)
        self.rng = random.Random(f"{seed}/{ref}")
        self.state = MachineState.ASLEEP
        self.sleep_kind = SleepKind.STOPPED
        self._boots = 0
        self._past: deque[tuple[float, MachineState]] = deque(maxlen=_SHOWN)
        self._past.append((0.0, self.state))

    def __repr__(self) -> str:
        return f"<Machine {self.ref} {self.state}>"

    @property
    def stopped(self) -> bool:
        """Asleep, with nothing left that has its address."""
        return self.state is MachineState.ASLEEP and not self.worker.listening

    def start(self) -> bool:
        """Whether that did anything."""
        if self.state is not MachineState.ASLEEP:
            return False
        self._become(MachineState.PENDING)
        boot = self.rng.uniform(2.0, 4.0) if self.rng.random() < 0.03 else self.rng.uniform(0, 0.4)
        self._boots += 1
        _later(boot, partial(self._answers, self._boots))
        _later(max(boot + self.rng.uniform(-0.2, 0.3), 0.0), partial(self._is_up, self._boots))
        return True

    def sleep(self, how: SleepKind) -> bool:
        """Whether that did anything."""
        if self.state not in (MachineState.RUNNING, MachineState.PENDING):
            return False
        if how is SleepKind.HIBERNATED and self.rng.random() < 0.05:
            how = SleepKind.STOPPED  # as a cloud does when it cannot keep the memory
        self.sleep_kind = how
        self._become(MachineState.STOPPING)
        if how is SleepKind.HIBERNATED and self.worker.listening:
            self.worker.freeze()
        else:
            self.worker.stop()
        slow = self.rng.random() < 0.03
        _later(self.rng.uniform(2, 5) if slow else self.rng.uniform(0.05, 0.5), self._is_down)
        return True

    def shown(self, lag: float) -> MachineState:
        """The state of `lag` seconds ago."""
        until = time.monotonic() - lag
        shown = self._past[0][1]
        for at, state in self._past:
            if at <= until:
                shown = state
        return shown

    def _answers(self, boot: int) -> None:
        if boot == self._boots and self.state in (MachineState.PENDING, MachineState.RUNNING):
            self.worker.start()

    def _is_up(self, boot: int) -> None:
        if boot == self._boots and self.state is MachineState.PENDING:
            self._become(MachineState.RUNNING)

    def _is_down(self) -> None:
        if self.state is MachineState.STOPPING:
            self._become(MachineState.ASLEEP)

    def _become(self, state: MachineState) -> None:
        self.state = state
        self._past.append((time.monotonic(), state))


class ChaosCloud:
    """Serves `provisioner.ChaosProvisioner` on a Unix socket, one JSON line each way a call."""

    provisioner: str = "chaos"
    made_up: Sequence[str] = ("AnswerLost", "that no provisioner has classified")

    def __init__(self, seed: int, folder: Path, records: Records) -> None:
        self._machines: dict[str, Machine] = {}
        self._socket = folder / "cloud.sock"
        self._folder = folder
        self._calm = False
        self._seed = seed
        self._records = records
        self._log: IO[str] = (folder / "cloud.jsonl").open("w", buffering=1)
        self._rng = random.Random(f"{seed}/looks")
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<ChaosCloud of {len(self._machines)} machines, {len(self._records.calls)} calls>"

    @property
    def machines(self) -> list[Machine]:
        return list(self._machines.values())

    async def __aenter__(self) -> Self:
        """Make its entry point known to whoever has the folder on its path, and serve."""
        made = self._folder / "chaos_cloud-0.dist-info"
        made.mkdir()
        (made / "METADATA").write_text("Metadata-Version: 2.1\nName: chaos-cloud\nVersion: 0\n")
        (made / "entry_points.txt").write_text(_ENTRY)
        self._server = await asyncio.start_unix_server(self._serve, self._socket, backlog=_BACKLOG)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for machine in self._machines.values():
            machine.worker.stop()
        self._log.close()

    async def make(self, number: int, org: str) -> None:
        block = random.SystemRandom().randrange(32, 200)
        for each in range(number):
            ref = f"m-{each:04}"
            arch = Arch.X86_64 if each % 2 else Arch.ARM64
            address = Address(f"127.{block}.{each // 250}.{each % 250 + 1}", 50_051)
            tell = partial(self._told, ref)
            self._machines[ref] = Machine(ref, arch, address, self._seed, tell)

    def _told(self, ref: str, event: str, call: str = "") -> None:
        if event == OPENED:
            self._records.served.append((ref, call))

    def environ(self, caller: str) -> dict[str, str]:
        return {SOCKET: str(self._socket)}

    async def trouble(self) -> None:
        """Every call has its own."""

    async def calm(self) -> None:
        self._calm = True

    async def wakes(self) -> int:
        return sum(call.effect and call.name is Name.WAKE for call in self._records.calls)

    async def tell(self) -> None:
        """All of it was written down as it happened."""

    async def states(self) -> dict[str, MachineState]:
        return {machine.name: machine.state for machine in self.machines}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = None
        try:
            line = await reader.readline()
            if line:
                gone = asyncio.ensure_future(reader.read())
                answer = await self._answer(json.loads(line), gone)
                if answer is not None:
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        except ConnectionError:
            pass  # the caller was killed
        finally:
            if gone is not None:
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)
            writer.close()

    async def _answer(self, asked: dict[str, Any], gone: Gone) -> dict[str, Any] | None:
        """None: the answer is lost. `gone` is done when nobody waits for it any more."""
        match asked["call"]:
            case "observe":
                if not self._calm and self._rng.random() < 0.001:
                    await asyncio.wait((gone,))
                    return None
                await asyncio.sleep(self._rng.uniform(0.001, 0.03))
                return {"seen": {ref: self._look(ref, asked["pid"]) for ref in asked["refs"]}}
            case "owned":
                return {"owned": {m.ref: [str(m.satellite_id), 1] for m in self._machines.values()}}
            case name:
                return await self._move(Name(name), asked, gone)

    def _look(self, ref: str, pid: int) -> dict[str, Any]:
        machine = self._machines[ref]
        late = not self._calm and self._rng.random() < 0.2
        state = machine.shown(self._rng.uniform(0, 0.5) if late else 0.0)
        self._records.looks.append(Look(time.monotonic(), ref, pid, state))
        asleep = state is MachineState.ASLEEP
        return {
            "state": state,
            "address": machine.worker.address,
            "kind": machine.sleep_kind if asleep else None,
        }

    async def _move(self, name: Name, asked: dict[str, Any], gone: Gone) -> dict[str, Any] | None:
        asked["arrived"] = time.monotonic()
        machine = self._machines[asked["ref"]]
        trouble = _Trouble(machine.rng, calm=self._calm)
        await asyncio.sleep(trouble.before)
        if trouble.held and not await self._in_time(trouble.held, asked, gone):
            self._note(machine, name, asked, Answer.GIVEN_UP, effect=False)
            return {"error": "NotReady"}
        refusal = trouble.refusal(name)
        if refusal is None and name is Name.WAKE and machine.state is MachineState.STOPPING:
            refusal = "NotReady"
        if refusal is not None:
            self._note(machine, name, asked, Answer.REFUSED, effect=False)
            return {"error": refusal}
        if name is Name.WAKE and trouble.moves:
            self._move_house(machine)
        streams = tuple(machine.worker.streams)
        effect = machine.start() if name is Name.WAKE else machine.sleep(SleepKind(asked["how"]))
        cut = streams if effect and name is Name.SLEEP else ()
        answer = Answer.LOST if trouble.lost else Answer.OK
        self._note(machine, name, asked, answer, effect=effect, cut=cut)
        await asyncio.wait((gone,), timeout=trouble.after)
        if trouble.lost == "cut":
            return None
        return {"error": "Throttled"} if trouble.lost else {}

    async def _in_time(self, held: float, asked: dict[str, Any], gone: Gone) -> bool:
        """Whether the call may still take effect, after `held` seconds: its caller has told how
        long it may, and waits for it."""
        until = asked["made"] + asked["left"]
        await asyncio.wait((gone,), timeout=min(held, until - time.monotonic()))
        return not gone.done() and time.monotonic() < until

    def _move_house(self, machine: Machine) -> None:
        """It changes addresses with another one that is stopped too."""
        others = [other for other in self.machines if other.stopped and other is not machine]
        if machine.stopped and others:
            worker, other = machine.worker, machine.rng.choice(others).worker
            worker.address, other.address = other.address, worker.address
            self._records.faults["machines that woke at another's address"] += 1

    def _note(
        self,
        machine: Machine,
        name: Name,
        asked: dict[str, Any],
        answer: Answer,
        *,
        effect: bool,
        cut: tuple[str, ...] = (),
    ) -> None:
        now = time.monotonic()
        made, arrived = asked["made"], asked["arrived"]
        call = Call(now, machine.ref, asked["pid"], name, answer, effect, made, arrived, cut)
        self._records.calls.append(call)
        told = {"at": round(now, 4), "ref": call.ref, "pid": call.pid, "call": name}
        print(json.dumps({**told, "answer": answer, "effect": effect, "cut": cut}), file=self._log)


class _Trouble:
    """What becomes of one call."""

    def __init__(self, rng: random.Random, *, calm: bool) -> None:
        slow, refused, lost = rng.random() < 0.04, rng.random() < 0.06, rng.random() < 0.05
        self.before = rng.uniform(0.3, 1.5) if slow else rng.uniform(0.002, 0.05)
        self.after = rng.uniform(0.3, 2.0) if rng.random() < 0.03 else rng.uniform(0, 0.02)
        if not calm and rng.random() < 0.01:
            self.after = rng.choice((rng.uniform(2, 8), NEVER))
        # Long about it, with the effect still to come; or for ever
        held = not calm and rng.random() < 0.015
        self.held = rng.choice((rng.uniform(1, 14), rng.uniform(1, 14), NEVER)) if held else 0.0
        self.moves = not calm and rng.random() < 0.03
        self._refused = rng.choice(("Throttled", "Capacity", "NotReady", "Broken"))
        self.lost = rng.choice(("cut", "error")) if lost and not calm else ""
        self._refuses = refused and not calm

    def refusal(self, name: Name) -> str | None:
        if not self._refuses:
            return None
        if self._refused == "Capacity" and name is Name.SLEEP:
            return "Throttled"
        return self._refused


def _later(seconds: float, what: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, what)
