"""The satellite's scripts, run, but for those of its volume and its network."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from torpor_provisioner import identity
from torpor_provisioner.bootstrap import Machine, System, Worker
from torpor_provisioner.contract import Address


def test_a_hibernation_may_swap_and_nothing_else(laid, tmp_path):
    """Else the kernel finds no room for the image as soon as half of the memory is in use."""
    hook = laid(Machine()) / "usr/lib/systemd/system-sleep/torpor"
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text('#!/bin/sh\necho "$@"\n')
    systemctl.chmod(0o755)
    path = {"PATH": f"{systemctl.parent}:{os.environ['PATH']}"}

    def run(when: str) -> str:
        words = [hook, when, "hibernate"]
        return subprocess.run(words, env=path, check=True, capture_output=True, text=True).stdout

    for when, most in (("pre", "infinity"), ("post", "0")):
        assert run(when) == "".join(
            f"set-property --runtime {name}.slice MemorySwapMax={most}\n"
            for name in ("torpor", "torpor-builds")
        )


def test_a_machine_tells_which_one_it_is_and_reads_nothing(laid, tool, tmp_path):
    """By systemd's own socket activation, one process for each connection."""
    tool("systemd-socket-activate")
    program = laid(Machine()) / "usr/libexec/torpor/identity"
    at = tmp_path / "socket"
    options = [f"--listen={at}", "--accept", "--inetd", "--setenv=TORPOR_LAUNCH_TOKEN"]
    environment = {"PATH": os.environ["PATH"], "TORPOR_LAUNCH_TOKEN": f"{uuid.uuid4()}/7"}
    words = ["systemd-socket-activate", *options, program]
    with subprocess.Popen(words, env=environment) as run:
        try:
            while not at.exists():
                assert run.poll() is None
                time.sleep(0.01)
            told = [asyncio.run(identity.read(Address(str(at), 0), 30)) for _ in range(3)]
        finally:
            run.terminate()
    assert all(told), "the router's own reader takes the line"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    launch = environment["TORPOR_LAUNCH_TOKEN"]
    assert {(one.boot_id, one.launch_token) for one in told} == {(boot_id, launch)}
    assert [one.uptime for one in told] == sorted(one.uptime for one in told)


@pytest.fixture
def health(laid, tmp_path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """The health check with a worker that answers, or not, and a systemctl that only says so."""
    programs = laid(Machine(worker=Worker.BUILDKIT)) / "usr/libexec/torpor"
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()

    def ask(worker: str) -> subprocess.CompletedProcess[str]:
        for name, text in (("buildctl", worker), ("systemctl", 'echo "$@"')):
            (bin_folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin_folder / name).chmod(0o755)
        script = programs / "health"
        script.write_text(script.read_text().replace("/usr/local/bin/", ""))
        environment = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "RUNTIME_DIRECTORY": str(tmp_path),
        }
        return subprocess.run(
            [script], check=False, env=environment, capture_output=True, text=True
        )

    return ask


def test_only_the_fifth_failure_in_a_row_restarts_the_worker(health):
    for _ in range(4):
        assert health("exit 1").stdout == ""
    assert health("exit 0").returncode == 0  # one answer, and the count begins anew
    for _ in range(4):
        assert health("exit 1").stdout == ""
    assert health("exit 1").stdout == "restart torpor-worker.service\n"
    assert health("exit 1").stdout == ""


def test_nothing_is_kept_that_has_not_its_checksum(programs, tmp_path):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    curl = bin_folder / "curl"
    curl.write_text('#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\nprintf worker >"$2"\n')
    curl.chmod(0o755)
    right = "87eba76e7f3164534045ba922e7770fb58bbd14ad732bbf5ba6f11cc56989e6e"
    target = tmp_path / "new" / "worker"

    def fetch(sums: str) -> int:
        words = [programs / "fetch", target, sums, "https://x/x", sums, "https://x/a"]
        path = f"{bin_folder}:{os.environ['PATH']}"
        done = subprocess.run(words, check=False, env={"PATH": path}, capture_output=True)
        return done.returncode

    assert fetch("0" * 64) != 0
    assert not target.exists()
    assert fetch(right) == 0
    assert target.read_text() == "worker"
    curl.write_text("#!/bin/sh\nexit 22\n")
    assert fetch(right) == 0, "what is there already is not fetched again"


@pytest.mark.parametrize("system", System)
def test_setup_starts_a_satellite_but_only_prepares_an_image(system, laid, tmp_path):
    programs = laid(Machine(system=system)) / "usr/libexec/torpor"
    setup = programs / "setup"
    setup.write_text(setup.read_text().replace("/usr/libexec/torpor/fetch", "fetch"))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("fetch", "tar", "systemctl", "sysctl", "update-grub"):
        (bin_folder / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (bin_folder / name).chmod(0o755)
    path = f"{bin_folder}:{os.environ['PATH']}"

    def run(*words: str) -> str:
        made = [setup, *words]
        return subprocess.run(
            made, env={"PATH": path}, check=True, capture_output=True, text=True
        ).stdout

    assert (
        "systemctl start torpor-identity.socket torpor-worker.service torpor-health.timer" in run()
    )
    assert "systemctl start" not in run("image")
    assert "systemctl stop" in run()
    assert "systemctl stop" not in run("image"), "it would end the session that makes the image"
    assert "systemctl enable" in run("image")


# Answers as EC2's metadata service and Secrets Manager do, and notes what it was asked.
CLOUD = """#!{python}
import json, sys
arguments = sys.argv[1:]
open("{log}", "a").write(" ".join(arguments) + "\\n")
where = next(a for a in arguments if a.startswith("http"))
if "--config" in arguments:
    open("{config}", "w").write(open(arguments[arguments.index("--config") + 1]).read())
answers = {{
    "/api/token": "session",
    "/placement/region": "eu-west-1",
    "/iam/security-credentials/": "satellite",
    "/iam/security-credentials/satellite": json.dumps(
        {{"AccessKeyId": "AKIA", "SecretAccessKey": "s/cr+t", "Token": "t0ken"}}
    ),
    "secretsmanager.eu-west-1.amazonaws.com/": json.dumps(
        {{"SecretString": json.dumps({{"certificate": "C\\n", "key": "K\\n", "ca": "A\\n"}})}}
    ),
}}
print(next(text for end, text in answers.items() if where.endswith(end)))
"""


def test_the_certificate_is_fetched_and_no_credential_is_seen(laid, tmp_path):
    machine = Machine(tls_secret="torpor/acme/worker")
    script = laid(machine) / "usr/libexec/torpor/tls"
    script.write_text(script.read_text().replace("chown root", "true"))
    log, config, curl = tmp_path / "log", tmp_path / "config", tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(CLOUD.format(python=sys.executable, log=log, config=config))
    curl.chmod(0o755)
    runtime = tmp_path / "run"
    runtime.mkdir()
    environment = {
        "PATH": f"{curl.parent}:{os.environ['PATH']}",
        "RUNTIME_DIRECTORY": str(runtime),
    }
    subprocess.run([script], check=True, env=environment)
    assert {p.name: (p.read_text(), p.stat().st_mode & 0o777) for p in runtime.iterdir()} == {
        "certificate.pem": ("C\n", 0o600),
        "key.pem": ("K\n", 0o600),
        "ca.pem": ("A\n", 0o600),
    }
    assert config.read_text() == 'user = "AKIA:s/cr+t"\nheader = "x-amz-security-token: t0ken"\n'
    assert "torpor/acme/worker" in log.read_text()
    assert "s/cr+t" not in log.read_text()
    assert "t0ken" not in log.read_text()
