"""One machine under QEMU, in software: its disks outlive its power."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machinekit.cloud import MAC, TREE
from torpor_provisioner.vm.image import Image

SWAP = "3G"
CACHE = "10G"
IDENTITY = "ec200000-0000-4000-8000-000000000001"
BOOTS_WITHIN = 1800.0  # seconds; what is done in software is slow, and this is no promise
ANSWERS_WITHIN = 600.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a command in the machine has left."""

    status: int
    output: str


class Machine:
    """Its folder holds three disks, its console and its sockets."""

    def __init__(self, folder: Path, image: Image) -> None:
        self.folder = folder
        self._image = image
        self._qemu: subprocess.Popen[bytes] | None = None
        self._agent: _Agent | None = None
        disk = folder / "root.qcow2"
        _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, disk)
        for name, size in (("swap", SWAP), ("cache", CACHE)):
            _run("truncate", "-s", size, folder / name)

    def power_on(self) -> None:
        command = ["qemu-system-x86_64", *self._arguments()]
        with (self.folder / "qemu.log").open("ab") as log:
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._agent = _Agent(self.folder / "agent")

    def run(self, script: str, within: float = ANSWERS_WITHIN) -> Done:
        """A shell script, by root."""
        assert self._agent is not None
        return self._agent.run(script, within)

    def tell(self, script: str, within: float = ANSWERS_WITHIN) -> str:
        """What a script that must succeed prints."""
        done = self.run(script, within)
        assert done.status == 0, f"{script}\n{done.output}\n{self.console()}"
        return done.output.strip()

    def until(self, script: str, within: float = ANSWERS_WITHIN) -> str:
        """Once it succeeds."""
        end = time.monotonic() + within
        while (done := self.run(script, within)).status != 0:
            assert time.monotonic() < end, f"{script}\n{done.output}\n{self.console()}"
            time.sleep(2)
        return done.output.strip()

    def off(self, within: float = BOOTS_WITHIN) -> None:
        """Returns once its power is off."""
        assert self._qemu is not None
        assert self._qemu.wait(within) == 0, self.console()
        self._qemu = None
        self._hang_up()

    def kill(self) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._agent is not None:
            self._agent.hang_up()
            self._agent = None

    def console(self, lines: int = 40) -> str:
        at = self.folder / "console"
        text = at.read_text(errors="replace") if at.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _arguments(self) -> list[str]:
        product = f"type=1,manufacturer=Amazon EC2,product={TREE['instance-type']}"
        return [
            # In software wherever it runs: so it is the same machine everywhere.
            *("-accel", "tcg", "-machine", "pc", "-cpu", "qemu64", "-smp", "1"),
            *("-m", str(self._image.memory), "-nodefaults", "-display", "none", "-no-reboot"),
            *("-smbios", f"{product},serial={IDENTITY},uuid={IDENTITY}"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)),
            *("-append", self._image.append),
            *("-drive", f"file={self.folder / 'root.qcow2'},if=virtio,cache=unsafe"),
            *("-drive", f"file={self.folder / 'swap'},format=raw,if=virtio,cache=unsafe"),
            *("-drive", f"file={self.folder / 'cache'},format=raw,if=none,id=cache,cache=unsafe"),
            *("-device", "ide-hd,drive=cache,model=Amazon Elastic Block Store"),
            *("-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=net,mac={MAC}"),
            *("-device", "virtio-rng-pci"),
            *("-chardev", f"file,id=console,path={self.folder / 'console'},append=on"),
            *("-serial", "chardev:console"),
            *("-chardev", f"socket,id=agent,path={self.folder / 'agent'},server=on,wait=off"),
            *("-serial", "chardev:agent"),
        ]


class _Agent:
    """QEMU's guest agent, by a serial line: one command at a time."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self._line: socket.socket | None = None
        self._read = b""
        self._number = 0

    def run(self, script: str, within: float) -> Done:
        end = time.monotonic() + within
        given = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
        pid = self._ask("guest-exec", given, end)["pid"]
        while not (told := self._ask("guest-exec-status", {"pid": pid}, end))["exited"]:
            assert time.monotonic() < end, f"still at it: {script}"
            time.sleep(0.5)
        output = b"".join(base64.b64decode(told.get(k, "")) for k in ("out-data", "err-data"))
        status = told.get("exitcode", 128 + told.get("signal", 0))
        return Done(status, output.decode(errors="replace"))

    def _ask(self, what: str, arguments: dict[str, Any], end: float) -> Any:
        """The answer to one question; a line that was lost with the power is made anew."""
        while True:
            try:
                if self._line is None:
                    self._connect(end)
                self._send({"execute": what, "arguments": arguments})
                told = self._answer(end)
            except OSError:
                self.hang_up()
                assert time.monotonic() < end, f"no answer to {what}"
                time.sleep(1)
            else:
                assert "error" not in told, told
                return told["return"]

    def _connect(self, end: float) -> None:
        self._line, self._read = socket.socket(socket.AF_UNIX), b""
        self._line.settimeout(10)
        self._line.connect(str(self._at))
        self._number += 1
        # Whatever was left in the line before is thrown away on both ends.
        self._line.sendall(b"\xff")
        self._send({"execute": "guest-sync", "arguments": {"id": self._number}})
        while self._answer(end).get("return") != self._number:
            pass

    def hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _send(self, what: dict[str, Any]) -> None:
        assert self._line is not None
        self._line.sendall(json.dumps(what).encode() + b"\n")

    def _answer(self, end: float) -> Any:
        assert self._line is not None
        while time.monotonic() < end:
            line, found, rest = self._read.partition(b"\n")
            if found:
                self._read = rest
                try:
                    return json.loads(line.strip(b"\xff\r "))
                except ValueError:  # half a line, of before
                    continue
            more = self._line.recv(65536)
            if not more:
                raise ConnectionError("the machine has no power")
            self._read += more
        raise TimeoutError("no answer")


def _run(*words: object) -> None:
    subprocess.run([*map(str, words)], check=True)


def waited(holds: Callable[[], Any], within: float, told: str) -> Any:
    """What `holds` returns, once that is true."""
    end = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < end, told
        time.sleep(1)
    return found
