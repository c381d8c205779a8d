"""Two machines whose networks have a way out; what a build in one of them reaches, as JSON.

    python -m vmkit.way_out IMAGES FIRST-ACCOUNT

Run as root in a network made for it (see tests/provisioner/vm/test_vm_fence.py).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

from vmkit.machines import SIZE, becomes, image, info, prints, reached

from torpor_provisioner.contract import Arch, MachineState, SleepKind, Spec
from torpor_provisioner.vm import VmProvisioner, VmSettings, sparse
from torpor_provisioner.vm.fence import Reach

WORLD = ("198.51.100.10:80", "10.9.9.9:80", "169.254.169.254:80")
HERE = ("198.51.100.1:80", "10.9.9.1:80", "10.0.2.2:80")
ITSELF = "10.0.2.15:8372"


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="torpor-way-out-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        name = _copied(Path(sys.argv[1]) / image().name, folder / "images")
        told = asyncio.run(_tried(folder, name, int(sys.argv[2])))
        sys.stdout.write(json.dumps(told) + "\n")
    finally:
        shutil.rmtree(folder)


def _copied(source: Path, images: Path) -> str:
    """The image where all accounts may go: that of tests lies in root's own folder."""
    for file in source.rglob("*"):
        target = images / source.name / file.relative_to(source)
        if file.is_file():
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            sparse.copy(file, target)
            target.chmod(0o644)
    for name in ("disk", "cache"):  # a snapshot's layers name what they lie on
        for layer in (images / source.name).glob(f"golden/*/{name}"):
            words = ("rebase", "-u", "-F", "raw", "-b", images / source.name / name, layer)
            subprocess.run(("qemu-img", *words), check=True)
    return source.name


async def _tried(folder: Path, name: str, first: int) -> dict[str, object]:
    settings = VmSettings(
        images=folder / "images",
        image=name,
        size=SIZE,
        accelerator="tcg",
        accounts=range(first, first + 10),
        reach=Reach(internet=True),
    )
    settings.check_accounts()
    provisioner = VmProvisioner(folder / "vm", settings)
    refs = []
    try:
        for token in ("neighbour", "build"):
            refs.append(await provisioner.launch(_spec(token), token))
            await becomes(provisioner, refs[-1], MachineState.RUNNING)
        seen = await provisioner.observe(refs)
        other, mine = (seen[ref] for ref in refs)
        assert other.address is not None
        assert other.identity is not None
        await info(other)
        _runs_as(folder, refs[1], range(first, first + 10))
        neighbours = [f"10.0.2.2:{port}" for port in (other.address.port, other.identity.port)]
        places = [*WORLD, *HERE, *neighbours, ITSELF]
        found = await prints(mine, "sh", "-c", "nslookup -type=a builds.example | tail -n 3")
        told: dict[str, object] = {
            "tried": len(places),
            "name": [line.split()[-1] for line in found if "198." in line],
            "launched": await reached(mine, *places),
        }
        await provisioner.sleep(refs[1], SleepKind.HIBERNATED)
        await becomes(provisioner, refs[1], MachineState.ASLEEP)
        await provisioner.wake(refs[1])
        mine = await becomes(provisioner, refs[1], MachineState.RUNNING)
        told["woken"] = await reached(mine, *places)
        return told
    finally:
        for ref in refs:
            await provisioner.terminate(ref)
        await provisioner.aclose()


def _spec(name: str) -> Spec:
    return Spec(uuid4(), 1, "acme", name, Arch.X86_64, hibernate=True)


def _runs_as(folder: Path, ref: str, accounts: range) -> None:
    pid = int((folder / "vm/machines" / ref / "qemu.pid").read_text())
    assert Path(f"/proc/{pid}").stat().st_uid in accounts


if __name__ == "__main__":
    main()
