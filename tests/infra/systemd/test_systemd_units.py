"""The router's units, read by systemd; its helpers, run against a cloud of shell scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = ("/opt/torpor/bin/torpor", "/usr/libexec/torpor/drain", "/bin/kill")


@pytest.fixture(scope="module")
def units(infra: Path) -> Path:
    return infra / "systemd"


@pytest.mark.parametrize("unit", ["torpor.service", "torpor-drain.service"])
def test_systemd_takes_it(unit, units, verified, tmp_path):
    at = tmp_path / "etc/systemd/system" / unit
    at.parent.mkdir(parents=True)
    at.write_text((units / unit).read_text())
    for path in PROGRAMS:
        program = tmp_path / path.lstrip("/")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(mode=0o755)
    assert verified(tmp_path, at) == ""


@pytest.mark.parametrize(("unit", "score"), [("torpor.service", 20), ("torpor-drain.service", 35)])
def test_the_router_unit_is_locked_in(unit, score, units, tool):
    """systemd's own score, from 0 (shut) to 100 (open); what is left is its sockets and user. Who
    drains is root, to stop the router."""
    analyze = tool("systemd-analyze")
    done = analyze("security", "--offline=true", f"--threshold={score}", "--no-pager", units / unit)
    assert done.returncode == 0, done.stdout
    assert "LimitCORE=0\n" in (units / unit).read_text()


def test_machines_outlive_a_router_of_the_vm_provisioner(units, verified, tmp_path, tool):
    """Of two settings the last one holds; systemd's own words tell which that is."""
    at = tmp_path / "etc/systemd/system/torpor.service"
    drop_in = at.with_suffix(".service.d") / "vm.conf"
    drop_in.parent.mkdir(parents=True)
    at.write_text((units / at.name).read_text())
    drop_in.write_text((units / drop_in.name).read_text())
    for path in PROGRAMS:
        program = tmp_path / path.lstrip("/")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(mode=0o755)
    assert verified(tmp_path, at) == ""
    shown = tool("systemd-analyze")(
        "cat-config", f"--root={tmp_path}", "systemd/system/torpor.service"
    )
    kept = re.findall(r"^KillMode=(\w+)$", shown.stdout, re.MULTILINE)
    assert kept == ["mixed", "process"]
    broken = drop_in.read_text().replace("KillMode=process", "KillMode=router")
    drop_in.write_text(broken)
    assert "Failed to parse kill mode" in verified(tmp_path, at), "the drop-in is read"


def test_a_reload_is_the_signal_that_reads_tls_files_again(units):
    """What the signal does: tests/router/serve."""
    assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in (units / "torpor.service").read_text()


@pytest.fixture
def cloud(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """An environment whose programs are these shell scripts."""

    def make(**programs: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}", "AWS_REGION": "eu-west-1"}

    return make


VERIFIED = "sslmode=verify-full&sslrootcert=/etc/torpor/rds.pem"
RDS = {
    "username": "torpor",
    "password": "p&ss w/rd",
    "host": "db.example",
    "port": 5432,
    "dbname": "torpor",
}


@pytest.mark.parametrize(
    ("database", "certificate", "url", "options"),
    [
        (
            RDS,
            {"certificate": "C\n", "key": "K\n"},
            f"postgresql://torpor:p%26ss%20w%2Frd@db.example:5432/torpor?{VERIFIED}",
            {"TLS_CERT": "certificate.pem", "TLS_KEY": "key.pem"},
        ),
        (
            {"url": "postgresql://elsewhere/torpor"},
            {
                "certificate": "C\n",
                "key": "K\n",
                "client_ca": "A\n",
                "worker_ca": "W\n",
                "orgs": "[acme]\n",
            },
            "postgresql://elsewhere/torpor",
            {
                "TLS_CERT": "certificate.pem",
                "TLS_KEY": "key.pem",
                "CLIENT_CA": "client_ca.pem",
                "WORKER_CA": "worker_ca.pem",
                "EC2_ORGS": "orgs.toml",
            },
        ),
    ],
)
def test_secrets_become_options_and_files(
    database, certificate, url, options, units, cloud, tmp_path
):
    (tmp_path / "database").write_text(json.dumps(database, indent=2))
    (tmp_path / "certificate").write_text(json.dumps(certificate))
    runtime = tmp_path / "run"
    runtime.mkdir()
    environment = cloud(
        # aws secretsmanager get-secret-value --region R --secret-id NAME ...
        aws=f'cat {tmp_path}/"$6"; echo',
        chown="true",
    ) | {
        "RUNTIME_DIRECTORY": str(runtime),
        "DATABASE_SECRET": "database",
        "CERTIFICATE_SECRET": "certificate",
    }
    subprocess.run([units / "secrets"], env=environment, check=True)
    told = dict(line.split("=", 1) for line in (runtime / "secrets.env").read_text().splitlines())
    files = {f"TORPOR_{option}": f"/run/torpor/{name}" for option, name in options.items()}
    assert told == {"TORPOR_DATABASE_URL": url} | files
    for name in options.values():
        assert (runtime / name).read_text() == certificate[Path(name).stem]
    assert {path.stat().st_mode & 0o777 for path in runtime.iterdir()} == {0o600}


def test_a_router_without_its_secrets_does_not_start(units, cloud, tmp_path):
    environment = cloud(aws="exit 254", chown="true") | {
        "RUNTIME_DIRECTORY": str(tmp_path),
        "DATABASE_SECRET": "database",
        "CERTIFICATE_SECRET": "certificate",
    }
    done = subprocess.run([units / "secrets"], env=environment, check=False, capture_output=True)
    assert done.returncode != 0
    assert not (tmp_path / "secrets.env").exists()


def test_a_node_that_is_to_go_drains_before_it_says_so(units, cloud, tmp_path):
    """Three looks: not in a group yet (404), in service, to be terminated."""
    log = tmp_path / "log"
    curl = f"""
for word; do url=$word; done
case $url in
*/api/token) echo session ;;
*/instance-id) echo i-1 ;;
*/autoscaling/target-lifecycle-state)
    echo x >>{tmp_path}/looks
    case $(wc -l <{tmp_path}/looks) in 1) exit 22 ;; 2) echo InService ;; *) echo Terminated ;; esac
esac"""
    note = f'echo "$(basename "$0") $*" >>{log}'
    environment = cloud(curl=curl, systemctl=note, aws=note)
    environment |= {"GROUP": "torpor-routers", "POLL_SECONDS": "0.01"}
    subprocess.run([units / "drain"], env=environment, check=True, timeout=60)
    stopped, told = log.read_text().splitlines()
    assert stopped == "systemctl stop torpor.service"
    assert told.startswith("aws autoscaling complete-lifecycle-action")
    for words in ("--auto-scaling-group-name torpor-routers", "--instance-id i-1", "CONTINUE"):
        assert words in told
