"""What an operator may set of virtual machines on this host."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torpor_provisioner.accounts import Ids, is_root
from torpor_provisioner.contract import Arch, Spec
from torpor_provisioner.errors import Invalid
from torpor_provisioner.vm.fence import Fence, Reach
from torpor_provisioner.vm.network import PORTS
from torpor_provisioner.vm.record import Wanted

PREFIX = "TORPOR_VM_"
SIZE = "1x512M"
IMAGE = "tiny"
MAX_SATELLITES = 20
COMPRESS_AFTER = 86_400
ACCOUNTS = range(80_000, 90_000)  # above those of `local`
ROUTERS_OWN = "router"
ARCHS = {"x86_64": Arch.X86_64}
_UNITS = {"M": 1, "G": 1024}
_SIZE = re.compile(r"(\d{1,3})x(\d{1,6})([MG])")
_MOST_CPUS, _MOST_MEMORY = 128, 1 << 20  # MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSettings:
    """`image` is that of satellites that name none; `memory` (MiB) and `cpus` are what all that
    are awake may have together, 0: what the host has, as `capacity` reckons it."""

    images: Path
    image: str = IMAGE
    size: str = SIZE
    accelerator: str = ""  # kvm, tcg; empty: kvm where it can be had
    qemu: str = ""  # the program; empty: found by name
    memory: int = 0
    cpus: int = 0
    ports: range = PORTS
    stop_grace: float = 30.0  # seconds from the power button to the plug
    compress_after: float = COMPRESS_AFTER  # seconds asleep; 0: never
    max_satellites: int = MAX_SATELLITES  # an org; 0: no limit
    accounts: range | None = None  # user numbers, one a machine; None: the router's own
    reach: Reach | None = None  # where machines may connect to; None: nowhere

    def fence(self) -> Fence | None:
        """
        Raises:
            Invalid: machines cannot be told apart, for they have no accounts of their own.
        """
        if self.reach is None:
            return None
        if self.accounts is None:
            raise Invalid(
                f"{PREFIX}REACH needs a router that is root, whose machines have accounts of their"
                " own: by these it is known whose connection one is"
            )
        return Fence(self.accounts, self.reach)

    def wanted(self, spec: Spec) -> Wanted:
        """
        Raises:
            Invalid: its architecture, size or settings cannot be had here.
        """
        here = ARCHS.get(os.uname().machine)
        if spec.arch is not here:
            raise Invalid(f"machines of this host are {here or 'not supported'}, not {spec.arch}")
        if unknown := set(spec.settings) - {"image"}:
            raise Invalid(f"vm satellites have the setting 'image', not {sorted(unknown)}")
        cpus, memory = size(spec.size or self.size)
        return Wanted(spec, spec.settings.get("image", self.image), memory, cpus)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], data: Path) -> Self:
        """Read the variables below; all may be absent.

        TORPOR_VM_IMAGES          the folder of images; default: `images` in the data folder
        TORPOR_VM_IMAGE           the image of satellites that name none
        TORPOR_VM_SIZE            CPUSxMEMORY, such as 2x4G
        TORPOR_VM_ACCELERATOR     kvm or tcg
        TORPOR_VM_QEMU            the program
        TORPOR_VM_MEMORY          MiB of all that are awake
        TORPOR_VM_CPUS            processors of all that are awake
        TORPOR_VM_PORTS           FIRST-LAST
        TORPOR_VM_STOP_GRACE      seconds
        TORPOR_VM_COMPRESS_AFTER  seconds asleep until its memory is compressed; 0: never
        TORPOR_VM_MAX_SATELLITES  of one org; 0: no limit
        TORPOR_VM_ACCOUNTS        FIRST-LAST, or "router": as the router's own
        TORPOR_VM_REACH           where machines may connect to: internet,10.1.0.0/16

        Raises:
            Invalid: one of them cannot be read; its name is in the detail.
        """
        get = {k.removeprefix(PREFIX): v for k, v in environ.items() if k.startswith(PREFIX)}.get
        accelerator = get("ACCELERATOR", "")
        if accelerator not in {"", "kvm", "tcg"}:
            raise Invalid(f"{PREFIX}ACCELERATOR is {accelerator!r}; it must be kvm or tcg")
        default_size = get("SIZE", SIZE)
        size(default_size)
        return cls(
            images=Path(get("IMAGES") or data / "images"),
            image=get("IMAGE", IMAGE),
            size=default_size,
            accelerator=accelerator,
            qemu=get("QEMU", ""),
            memory=_whole("MEMORY", get("MEMORY"), 0),
            cpus=_whole("CPUS", get("CPUS"), 0),
            ports=_range("PORTS", get("PORTS"), 65_535) or PORTS,
            stop_grace=float(_whole("STOP_GRACE", get("STOP_GRACE"), 30)),
            compress_after=float(_whole("COMPRESS_AFTER", get("COMPRESS_AFTER"), COMPRESS_AFTER)),
            max_satellites=_whole("MAX_SATELLITES", get("MAX_SATELLITES"), MAX_SATELLITES),
            accounts=_accounts(get("ACCOUNTS")),
            reach=_reach(get("REACH", "")),
        )

    def check_accounts(self) -> None:
        """Raise Invalid if machines cannot run as the accounts they should."""
        if self.accounts is None:
            return
        someone = Ids(self.accounts.start, self.accounts.start)
        existing = next(p for p in (self.images, *self.images.parents) if p.exists())
        if not someone.may_enter(existing):
            raise Invalid(
                f"the accounts of satellites may not enter {existing}; keep the data where all"
                f" may go, or set {PREFIX}ACCOUNTS={ROUTERS_OWN}"
            )


def size(text: str) -> tuple[int, int]:
    """Processors and MiB of memory.

    Raises:
        Invalid: it is no size.
    """
    found = _SIZE.fullmatch(text)
    cpus, memory = (int(found[1]), int(found[2]) * _UNITS[found[3]]) if found else (0, 0)
    if not 1 <= cpus <= _MOST_CPUS or not 64 <= memory <= _MOST_MEMORY:
        raise Invalid(f"the size {text!r} is none; it must be CPUSxMEMORY, such as 2x512M or 4x8G")
    return cpus, memory


def _reach(text: str) -> Reach | None:
    try:
        return Reach.read(text)
    except Invalid as error:
        raise Invalid(f"{PREFIX}REACH: {error.detail}") from error


def _accounts(text: str | None) -> range | None:
    if text == ROUTERS_OWN or (text is None and not is_root()):
        return None
    if not is_root():
        raise Invalid(f"{PREFIX}ACCOUNTS is {text!r}; only root runs machines as other accounts")
    return _range("ACCOUNTS", text, 2**31 - 1) or ACCOUNTS


def _range(name: str, text: str | None, largest: int) -> range | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,10})-(\d{1,10})", text)
    if not found or not 0 < int(found[1]) <= int(found[2]) <= largest:
        raise Invalid(f"{PREFIX}{name} is {text!r}; it must be FIRST-LAST, within 1 to {largest}")
    return range(int(found[1]), int(found[2]) + 1)


def _whole(name: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,15}", text):
        raise Invalid(f"{PREFIX}{name} is {text!r}; it must be a whole number, 0 or more")
    return int(text)
