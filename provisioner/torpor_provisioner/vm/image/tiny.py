"""The smallest satellite: Debian's kernel and busybox, with this machine's own Python in it that
runs the sample worker. Made in less than a minute, for the demo and for tests."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from torpor_provisioner.vm.errors import ImageNotMade
from torpor_provisioner.vm.image import debian, runtime
from torpor_provisioner.vm.image.cpio import Archive
from torpor_provisioner.vm.image.folder import Image, call, made_once
from torpor_provisioner.vm.image.kernel import META, MODULES, Kernel

NAME = "tiny"  # the newest of them
FORMAT = 4  # of what is made here; another one makes new images
GUEST = Path(__file__).parent / "guest"
BUSYBOX = "busybox-static"
MEMORY = 128  # MiB
DISK = "4G"  # sparse
CACHE = "8G"
# No clock of its own accord, no console that waits for a line to be sent.
APPEND = "console=ttyS0 quiet panic=1 net.ifnames=0 random.trust_cpu=on tsc=unstable"
RESOLVER = "10.0.2.3"  # QEMU's, which asks the host's; it answers where the network is open
PROGRAMS = ("agent", "setup", "worker", "identity")


def make_tiny(images: Path) -> Image:
    """The tiny image below `images`, made anew when anything that it is made of is another.

    Raises:
        ImageNotMade: with what this machine lacks.
    """
    made = made_once(images, f"{NAME}-{checksum()[:16]}", _make)
    call(images, NAME, made)
    return made


def checksum() -> str:
    """Of what is put in, but for Debian's packages: a new kernel makes no new image by itself."""
    found = hashlib.sha256(
        f"{FORMAT} {runtime.versions()} {APPEND} {MODULES} {DISK} {CACHE}".encode()
    )
    sample = runtime.PACKAGE / "sample"
    for file in (*sorted(GUEST.iterdir()), *sorted(sample.rglob("*.py"))):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def _make(folder: Path) -> Image:
    for program in ("mkfs.ext4", "ldd"):
        if _which(program) is None:
            raise ImageNotMade(f"{program} is not on this machine")
    packages = folder / "packages"
    packages.mkdir()
    kernel = Kernel(debian.unpacked(debian.newest(META), packages))
    [busybox] = debian.unpacked(BUSYBOX, packages).glob("**/bin/busybox")
    image = Image(folder, APPEND, MEMORY)
    shutil.copy(kernel.image, image.kernel)
    _initrd(kernel, busybox, image.initrd)
    root = folder / "root"
    _root(busybox, root)
    _file_system(image.disk, DISK, root)
    _file_system(image.cache, CACHE, None)
    shutil.rmtree(root)
    shutil.rmtree(packages)
    return image


def _initrd(kernel: Kernel, busybox: Path, at: Path) -> None:
    made = Archive()
    made.console()
    made.file("bin/busybox", busybox.read_bytes(), executable=True)
    made.file("init", (GUEST / "init").read_bytes(), executable=True)
    modules = kernel.modules(*MODULES)
    for module in modules:
        made.file(f"modules/{module.name}", module.read_bytes())
    made.file("modules/order", "".join(f"{m.name}\n" for m in modules).encode())
    made.save(at)


def _root(busybox: Path, root: Path) -> None:
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
    for name in PROGRAMS:
        text = (GUEST / name).read_text().replace("@PYTHON@", str(runtime.program()))
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


def _file_system(at: Path, size: str, root: Path | None) -> None:
    """A sparse file with ext4 in it; owned by root, whichever account makes it."""
    source = () if root is None else ("-d", str(root))
    words = [
        "mkfs.ext4",
        "-q",
        "-F",
        "-J",
        "size=8",
        "-E",
        "root_owner=0:0,lazy_itable_init=1",
        *source,
    ]
    done = subprocess.run(  # noqa: S603 - the words are ours
        [*words, str(at), size], capture_output=True, text=True, check=False, env=_with_sbin()
    )
    if done.returncode != 0:
        raise ImageNotMade(f"mkfs.ext4: {done.stderr.strip()[-500:]}")


def _which(program: str) -> str | None:
    return shutil.which(program, path=_with_sbin()["PATH"])


def _with_sbin() -> dict[str, str]:
    """Debian keeps mkfs out of the PATH of ordinary users."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"}
