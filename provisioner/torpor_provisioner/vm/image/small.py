"""The smallest satellites: Debian's kernel and busybox, this machine's own Python and a worker.

Made in less than a minute: `tiny`, with the sample worker, for the demo and for tests, and
`buildkit` where BuildKit's binaries are at hand.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from torpor_provisioner.vm.errors import ImageNotMade
from torpor_provisioner.vm.image import debian, ext4, runtime
from torpor_provisioner.vm.image.cpio import Archive
from torpor_provisioner.vm.image.folder import Image, call, made_once
from torpor_provisioner.vm.image.kernel import META, MODULES, Kernel
from torpor_provisioner.vm.image.workers import GUEST, Sample, Worker
from torpor_provisioner.vm.image.workers import checksum as checksum_of

FORMAT = 4  # of what is made here; another one makes new images
BUSYBOX = "busybox-static"
DISK = "4G"  # sparse
# No clock of its own accord, no console that waits for a line to be sent.
APPEND = "console=ttyS0 quiet panic=1 net.ifnames=0 random.trust_cpu=on tsc=unstable"
RESOLVER = "10.0.2.3"  # QEMU's, which asks the host's; it answers where the network is open
PROGRAMS = ("agent", "setup", "identity")


def make_small(images: Path, worker: Worker | None = None) -> Image:
    """The image of this worker below `images`, made anew when anything in it is another; that of
    the sample worker is `tiny`.

    Raises:
        ImageNotMade: with what this machine lacks.
    """
    chosen = worker or Sample()
    name = f"{chosen.name}-{checksum(chosen)[:16]}"
    made = made_once(images, name, lambda folder: _make(folder, chosen))
    call(images, chosen.name, made)
    return made


def checksum(worker: Worker) -> str:
    """Of what is put in, but for Debian's packages: a new kernel makes no new image by itself."""
    modules = (*MODULES, *worker.modules)
    parts = (
        f"{FORMAT} {runtime.versions()} {APPEND} {modules} {DISK} {worker.cache} {worker.memory}"
    )
    found = hashlib.sha256(parts.encode())
    found.update(checksum_of(file for file in sorted(GUEST.iterdir())))
    found.update(checksum_of(worker.files()))
    return found.hexdigest()


def _make(folder: Path, worker: Worker) -> Image:
    ext4.check()
    if shutil.which("ldd") is None:
        raise ImageNotMade("ldd is not on this machine")
    packages = folder / "packages"
    packages.mkdir()
    kernel = Kernel(debian.unpacked(debian.newest(META), packages))
    [busybox] = debian.unpacked(BUSYBOX, packages).glob("**/bin/busybox")
    image = Image(folder, APPEND, worker.memory)
    shutil.copy(kernel.image, image.kernel)
    _initrd(kernel, busybox, worker, image.initrd)
    root = folder / "root"
    _root(busybox, worker, root)
    ext4.make(image.disk, DISK, root)
    ext4.make(image.cache, worker.cache)
    shutil.rmtree(root)
    shutil.rmtree(packages)
    return image


def _initrd(kernel: Kernel, busybox: Path, worker: Worker, at: Path) -> None:
    made = Archive()
    made.console()
    made.file("bin/busybox", busybox.read_bytes(), executable=True)
    made.file("init", (GUEST / "init").read_bytes(), executable=True)
    modules = kernel.modules(*MODULES, *worker.modules)
    for module in modules:
        made.file(f"modules/{module.name}", module.read_bytes())
    made.file("modules/order", "".join(f"{m.name}\n" for m in modules).encode())
    made.save(at)


def _root(busybox: Path, worker: Worker, root: Path) -> None:
    for folder in (
        "bin",
        "sbin",
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "etc",
        "root",
        "var/lib/torpor",
    ):
        (root / folder).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    applets = subprocess.run(  # noqa: S603 - Debian's busybox
        [str(busybox), "--list"], capture_output=True, text=True, check=True
    ).stdout
    for name in applets.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "sbin/init").symlink_to("/bin/busybox")
    # The one command that builds of the demo use and busybox has not.
    _program(root / "bin/cksum", '#!/bin/sh\nexec md5sum "$@"\n')
    runtime.lay(root)
    worker.lay(root)
    for name, source in {**{each: each for each in PROGRAMS}, "worker": worker.name}.items():
        text = (GUEST / source).read_text().replace("@PYTHON@", str(runtime.program()))
        _program(root / "usr/libexec/torpor" / name, text)
    shutil.copy(GUEST / "inittab", root / "etc/inittab")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/resolv.conf").write_text(f"nameserver {RESOLVER}\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost satellite\n")


def _program(at: Path, text: str) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text(text)
    at.chmod(0o755)
