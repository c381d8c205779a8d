"""From what is asked of a machine to what must be on it. Pure; the texts are made from this."""

from __future__ import annotations

from dataclasses import dataclass

from torpor_provisioner.bootstrap.files import File, filled
from torpor_provisioner.bootstrap.machine import Machine, Worker
from torpor_provisioner.bootstrap.systems import HIBERNATION_AGENT, NAMES, Names
from torpor_provisioner.bootstrap.tools import BAZEL_REMOTE, BUILDKIT
from torpor_provisioner.identity import PORT as IDENTITY_PORT

UNITS = "/etc/systemd/system"
PROGRAMS = "/usr/libexec/torpor"
OWN = "/etc/torpor"
BALLAST_PERCENT = 2
SATELLITE = f"{OWN}/satellite.env"
SETUP = f"{PROGRAMS}/setup"
PROBES = {
    # Both ask the worker itself, not only whether its port is open.
    Worker.BUILDKIT: "/usr/local/bin/buildctl debug workers",
    # Its other port asks for a certificate, where it has one.
    Worker.BAZEL_CACHE: "curl --fail --silent http://127.0.0.1:8081/debug/pprof/cmdline",
}
# What a machine with little memory must be held back in: builds, or the one worker there is.
LIMITED = {
    Worker.BUILDKIT: "torpor-builds.slice",
    Worker.BAZEL_CACHE: "torpor-worker.service",
}
SLEEP_HOOK = "/usr/lib/systemd/system-sleep/torpor"
USERS = {Worker.BUILDKIT: "root", Worker.BAZEL_CACHE: "torpor-bazel"}
PEM = "/run/torpor-tls"
TLS_OPTIONS = {
    Worker.BUILDKIT: "--tlscert {0}/certificate.pem --tlskey {0}/key.pem --tlscacert {0}/ca.pem",
    Worker.BAZEL_CACHE: (
        "--tls_cert_file {0}/certificate.pem --tls_key_file {0}/key.pem --tls_ca_file {0}/ca.pem"
    ),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything on a satellite. `own` is the one file that differs from machine to machine."""

    packages: tuple[str, ...]
    files: tuple[File, ...]
    own: File

    @property
    def everything(self) -> tuple[File, ...]:
        return (*self.files, self.own)


def recipe(machine: Machine) -> Recipe:
    """What must be on a machine, and nothing about how it gets there."""
    names = NAMES[machine.system]
    packages = names.packages
    if machine.worker is Worker.BUILDKIT:
        packages = (*packages, *names.builds)
    if machine.hibernate:
        packages = (*packages, HIBERNATION_AGENT)
    return Recipe(
        packages=packages,
        files=(
            *_limits(machine),
            *_cache(),
            *_firewall(machine),
            *_health(machine),
            *_identity(),
            *_system(machine, names),
            *_worker(machine),
            *_tls(machine),
            _program("fetch"),
            _setup(machine, names),
        ),
        own=File(
            SATELLITE,
            filled(
                "satellite.env",
                {
                    "ORG": machine.org,
                    "SATELLITE": machine.satellite,
                    "PORT": machine.port,
                    "LAUNCH_TOKEN": machine.launch_token,
                    "CACHE_DEVICE": machine.cache_device,
                },
            ),
        ),
    )


def _unit(name: str, **blanks: object) -> File:
    return File(f"{UNITS}/{name}", filled(name, blanks))


def _program(name: str, **blanks: object) -> File:
    return File(f"{PROGRAMS}/{name}", filled(name, blanks), executable=True)


def _limits(machine: Machine) -> list[File]:
    return [
        _unit("torpor.slice"),
        _unit("torpor-builds.slice", MEMORY_PERCENT=machine.memory_percent),
        _unit("torpor-limits.service"),
        _program(
            "limits",
            UNIT=LIMITED[machine.worker],
            MEMORY_PERCENT=machine.memory_percent,
            CPU=(
                f' "CPUQuota=$(($(nproc) * {machine.cpu_percent}))%"'
                if machine.worker is Worker.BUILDKIT
                else ""
            ),
        ),
    ]


def _cache() -> list[File]:
    return [
        _unit("torpor-cache.service"),
        _program("cache"),
        _program("room", BALLAST_PERCENT=BALLAST_PERCENT),
    ]


def _firewall(machine: Machine) -> list[File]:
    addresses = ("169.254.169.253", "fd00:ec2::253", *machine.resolvers)
    drops = [
        f"{'ip6' if ':' in address else 'ip'} daddr {address}"
        for address in (addresses if machine.block_resolver else ())
    ]
    rules = filled(
        "firewall.nft",
        {
            "IDENTITY_PORT": IDENTITY_PORT,
            "RESOLVER_FORWARD": "".join(f"        {drop} counter drop\n" for drop in drops),
            # The system's own resolver and clock are users below 1000, and may still ask.
            "RESOLVER_OUTPUT": "".join(
                f"        {drop} meta skuid >= 1000 counter drop\n" for drop in drops
            ),
        },
    )
    return [_unit("torpor-firewall.service"), File(f"{OWN}/firewall.nft", rules)]


def _health(machine: Machine) -> list[File]:
    return [
        _unit("torpor-health.timer"),
        _unit("torpor-health.service"),
        _program("health", PROBE=PROBES[machine.worker]),
    ]


def _identity() -> list[File]:
    return [
        _unit("torpor-identity.socket", PORT=IDENTITY_PORT),
        _unit("torpor-identity@.service"),
        _program("identity"),
    ]


def _system(machine: Machine, names: Names) -> list[File]:
    files = [
        _unit("torpor-resumed.service"),
        File(f"{names.chrony_folder}/torpor.conf", filled("chrony.conf", {})),
        File("/etc/sysctl.d/90-torpor.conf", filled("sysctl.conf", {})),
    ]
    if machine.hibernate:
        files.append(File(SLEEP_HOOK, filled("sleep-hook", {}), executable=True))
    if machine.hibernate and names.grub:
        files.append(File("/etc/default/grub.d/99-torpor.cfg", filled("nokaslr.cfg", {})))
    return files


def _worker(machine: Machine) -> list[File]:
    unit = f"{UNITS}/torpor-worker.service"
    percents = {
        "BRIDGE": machine.bridge,
        "MEMORY_PERCENT": machine.memory_percent,
        "CACHE_PERCENT": machine.cache_percent,
        "RESERVED_PERCENT": machine.cache_percent // 8,
        "SCRATCH_PERCENT": machine.cache_percent // 4,
        "FREE_PERCENT": (100 - machine.cache_percent) // 2,
        "TLS": f" {TLS_OPTIONS[machine.worker].format(PEM)}" if machine.tls_secret else "",
    }
    if machine.worker is Worker.BAZEL_CACHE:
        return [
            File(unit, filled("bazel-cache.service", percents)),
            _program("bazel-cache", **percents),
        ]
    servers = ", ".join(f'"{address}"' for address in machine.nameservers)
    dns = f"\n[dns]\nnameservers = [{servers}]\n" if servers else ""
    config = filled("buildkitd.toml", percents | {"NAMESERVERS": dns})
    return [
        File(unit, filled("buildkit.service", percents)),
        File(f"{OWN}/buildkitd.toml", config),
        _program("runc"),
    ]


def _tls(machine: Machine) -> list[File]:
    if not machine.tls_secret:
        return []
    drop_in = f"{UNITS}/torpor-worker.service.d/tls.conf"
    return [
        _unit("torpor-tls.service"),
        File(drop_in, filled("needs-tls.conf", {})),
        _program("tls", SECRET=machine.tls_secret, USER=USERS[machine.worker]),
    ]


def _setup(machine: Machine, names: Names) -> File:
    enabled = ["torpor-firewall.service", "torpor-worker.service", "torpor-health.timer"]
    enabled.append("torpor-identity.socket")
    hibernation = []
    if machine.hibernate:
        enabled += ["torpor-resumed.service", "hibinit-agent.service"]
        hibernation = ["update-grub"] if names.grub else []
    return _program(
        "setup",
        FETCH="\n".join(_fetch(machine.worker)),
        MASK="" if machine.ssh else f"systemctl mask {' '.join(names.ssh)}",
        # Not in an image: the one who makes it has come in by SSH.
        STOP="" if machine.ssh else f"systemctl stop {' '.join(names.ssh)}",
        HIBERNATE="\n".join(hibernation),
        # It lays the swap that memory goes to, which takes minutes; a worker need not wait for it.
        SWAP="systemctl start --no-block hibinit-agent.service" if machine.hibernate else "",
        ENABLE=" ".join([f"{names.chrony}.service", *enabled]),
        CHRONY=names.chrony,
    )


def _fetch(worker: Worker) -> list[str]:
    if worker is Worker.BAZEL_CACHE:
        return [
            BAZEL_REMOTE.fetch("/usr/local/bin/bazel-remote"),
            "chmod 0755 /usr/local/bin/bazel-remote",
            "id torpor-bazel >/dev/null 2>&1 || useradd --system --no-create-home torpor-bazel",
        ]
    archive = "/usr/local/lib/torpor/buildkit.tar.gz"
    return [
        BUILDKIT.fetch(archive),
        f"tar --extract --gzip --file {archive} --directory /usr/local",
    ]
