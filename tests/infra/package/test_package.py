"""What routers install: published from this checkout, and taken from there as the stack says."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

# A bucket is a folder: `aws s3 cp --only-show-errors FROM TO`.
AWS = """#!/bin/sh
set -eu
[ "$1 $2 $3" = "s3 cp --only-show-errors" ]
at() { case $1 in s3://*) echo "$BUCKETS/${1#s3://}" ;; *) echo "$1" ;; esac; }
mkdir -p "$(dirname "$(at "$5")")"
cp "$(at "$4")" "$(at "$5")"
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("cloud")
    aws = folder / "bin" / "aws"
    aws.parent.mkdir()
    aws.write_text(AWS)
    aws.chmod(0o755)
    path = f"{aws.parent}:{os.environ['PATH']}"
    return {"PATH": path, "BUCKETS": str(folder), "HOME": str(folder)}


@pytest.fixture(scope="module")
def package(infra: Path, cloud: dict[str, str]) -> str:
    """The stack's parameter, as `publish` prints it."""
    done = subprocess.run(
        [infra / "package" / "publish", "s3://acme/torpor/"],
        env=cloud,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def published(package: str, cloud: dict[str, str]) -> Path:
    return Path(cloud["BUCKETS"], package.removeprefix("s3://"))


@pytest.fixture
def install(
    infra: Path, package: str, cloud: dict[str, str], tmp_path: Path
) -> Callable[[], subprocess.CompletedProcess[str]]:
    """The steps of a router's first boot that install, in a folder instead of /opt/torpor."""
    text = (infra / "cloudformation" / "torpor.yaml").read_text()
    [steps] = re.findall(r"(?m)^ +(mkdir -p /opt/torpor/package\n(?:.*\n)*?) +cd /\n", text)
    home = tmp_path / "torpor"
    (home / "bin").mkdir(parents=True)
    # Only what is ours is installed: the rest of the lock is requirements/run.txt, from a registry.
    pip = home / "bin" / "pip"
    pip.write_text(
        "#!/bin/sh\ngrep '^\\./' lock >own\n"
        f'exec {sys.executable} -m pip "$1" --no-index --no-deps --require-hashes'
        f" --quiet --target {home}/lib --requirement own\n"
    )
    pip.chmod(0o755)
    script = steps.replace("/opt/torpor", str(home)).replace("${Package}", package)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-euc", script], env=cloud, check=False, capture_output=True, text=True
        )

    return run


def test_the_parameter_names_the_lock_and_the_lock_all_files(package, published, infra):
    parameters = (infra / "cloudformation" / "torpor.yaml").read_text()
    [pattern] = re.findall(r'AllowedPattern: "(s3://.*)"', parameters)
    assert re.fullmatch(pattern, package)
    lock = (published / "lock").read_text()
    assert published.name == hashlib.sha256(lock.encode()).hexdigest()
    run = (infra.parent / "requirements" / "run.txt").read_text()
    [wheel] = published.glob("*.whl")
    sum_of_wheel = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert lock == f"{run}./{wheel.name} --hash=sha256:{sum_of_wheel}\n"


def test_a_router_installs_it(install, tmp_path):
    done = install()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "torpor/lib/torpor_router/__init__.py").exists()


@pytest.mark.parametrize("what", ["lock", "*.whl"])
def test_a_router_installs_nothing_that_was_replaced(what, published, install, tmp_path):
    [file] = published.glob(what)
    before = file.read_bytes()
    file.write_bytes(before + b"\n")
    try:
        done = install()
    finally:
        file.write_bytes(before)
    assert done.returncode != 0
    assert not (tmp_path / "torpor/lib").exists()


def test_the_shell_is_sound(infra, tool):
    done = tool("shellcheck")(infra / "package" / "publish")
    assert done.returncode == 0, done.stdout


def test_only_a_routers_own_folder_of_the_bucket_is_read(infra):
    text = (infra / "iam" / "router.json").read_text()
    read = [s for s in yaml.safe_load(text)["Statement"] if s["Sid"] == "ReadItsPackage"]
    assert [(s["Action"], s["Resource"]) for s in read] == [
        ("s3:GetObject", "arn:${AWS::Partition}:s3:::${Folder}/*")
    ]
