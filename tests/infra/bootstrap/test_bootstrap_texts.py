"""User data and image script: read by cloud-init and the shell, and equal in what they make."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from torpor_provisioner.bootstrap import Machine, Worker, image_script, recipe, user_data
from torpor_provisioner.bootstrap.__main__ import main
from torpor_provisioner.contract import Arch, Spec
from torpor_provisioner.ec2 import plan
from torpor_provisioner.ec2.settings import Ec2Settings, Place

EVERYTHING = {
    "block_resolver": True,
    "resolvers": ("10.0.0.2", "fd00:10::2"),
    "nameservers": ("9.9.9.9", "149.112.112.112"),
    "tls_secret": "torpor/acme/worker",
}


def without_comments(text: str) -> str:
    """As it is written into user data."""
    lines = [
        line
        for line in text.splitlines()
        if line and (line.startswith("#!") or not line.lstrip().startswith("#"))
    ]
    return "".join(f"{line}\n" for line in lines)


def test_cloud_init_takes_the_user_data(machine, tool, tmp_path):
    file = tmp_path / "user-data"
    file.write_text(user_data(machine))
    done = tool("cloud-init")("schema", "--config-file", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_cloud_init_takes_the_user_data_of_a_baked_image(tool, tmp_path):
    file = tmp_path / "user-data"
    file.write_text(user_data(Machine(), baked=True))
    done = tool("cloud-init")("schema", "--config-file", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_user_data_writes_the_recipe(machine):
    read = yaml.safe_load(user_data(machine))
    wanted = recipe(machine)
    assert read["packages"] == list(wanted.packages)
    assert {
        f["path"]: (f.get("permissions", "0644"), f["content"]) for f in read["write_files"]
    } == {f.path: (f.mode, without_comments(f.content)) for f in wanted.everything}
    assert read["runcmd"] == [["/usr/libexec/torpor/setup"]]


def test_a_baked_image_needs_only_its_own_values(machine):
    read = yaml.safe_load(user_data(machine, baked=True))
    assert [f["path"] for f in read["write_files"]] == ["/etc/torpor/satellite.env"]
    assert "packages" not in read
    assert read["runcmd"] == [["/usr/libexec/torpor/setup"]]


def test_the_longest_user_data_fits_into_what_ec2_takes(machine):
    spec = Spec(
        satellite_id=uuid.uuid4(),
        org="o" * 39,
        name="s" * 63,
        generation=1,
        arch=Arch.X86_64,
    )
    settings = Ec2Settings(
        deployment="test",
        place=Place(region="eu-west-1", subnets=("subnet-1",), security_groups=("sg-1",)),
        images={Arch.X86_64: "ami-12345678"},
        user_data=user_data(replace(machine, **EVERYTHING)),
    )
    filled = plan.user_data(spec, settings).decode()  # with no need to compress it
    assert "@TORPOR" not in filled
    written = {f["path"]: f["content"] for f in yaml.safe_load(filled)["write_files"]}
    assert written["/etc/torpor/satellite.env"] == (
        f"TORPOR_ORG={spec.org}\nTORPOR_SATELLITE={spec.name}\nTORPOR_PORT=8372\n"
        f"TORPOR_LAUNCH_TOKEN={spec.launch_token}\n"
        "TORPOR_CACHE_DEVICE=/dev/sdf\n"
    )


def test_cloud_init_unpacks_what_is_too_long_for_ec2(machine, tool):
    """By the function that it reads all user data with."""
    tool("cloud-init")
    template = user_data(replace(machine, **EVERYTHING)) + "# and more\n" * 1000
    settings = Ec2Settings(
        deployment="test",
        place=Place(region="eu-west-1", subnets=("subnet-1",), security_groups=("sg-1",)),
        images={Arch.X86_64: "ami-12345678"},
        user_data=template,
    )
    spec = Spec(satellite_id=uuid.uuid4(), org="o", name="s", generation=1, arch=Arch.X86_64)
    reading = (
        "import sys; from cloudinit.user_data import convert_string;"
        "print(convert_string(sys.stdin.buffer.read()).get_payload(decode=True).decode())"
    )
    packed = plan.user_data(spec, settings)
    assert len(template) > plan.MAX_USER_DATA > len(packed)
    read = subprocess.run(
        ["/usr/bin/python3", "-c", reading], input=packed, check=True, capture_output=True
    )
    plain = yaml.safe_load(read.stdout)
    assert plain["runcmd"] == [["/usr/libexec/torpor/setup"]]
    assert {f["path"] for f in plain["write_files"]} == {
        f.path for f in recipe(replace(machine, **EVERYTHING)).everything
    }


def test_the_image_script_lays_what_the_user_data_lays(machine, tmp_path):
    """The script's own file-writing part, run for real below another root."""
    script = image_script(machine)
    laying = script[script.index("install -D") : script.index("/usr/libexec/torpor/setup image")]
    moved = re.sub(r"(?m)^(install -D -m \d+ /dev/null |cat >)/", rf"\g<1>{tmp_path}/", laying)
    subprocess.run(["/bin/sh", "-eu"], input=moved, text=True, check=True)
    found = {
        f"/{p.relative_to(tmp_path)}": (f"{p.stat().st_mode & 0o7777:04o}", p.read_text())
        for p in tmp_path.rglob("*")
        if p.is_file()
    }
    wanted = recipe(machine)
    assert found == {f.path: (f.mode, f.content) for f in wanted.files}
    assert wanted.own.path not in script.split("cat >")[0]
    for package in wanted.packages:
        assert re.search(rf"install .*\b{package}\b", script)


def test_the_shell_is_sound(machine, tool, laid: Callable[[Machine], Path]):
    root = laid(replace(machine, **EVERYTHING))
    scripts = [p for p in root.rglob("usr/libexec/torpor/*") if p.is_file()]
    bake = root / "bake"
    bake.write_text(image_script(machine))
    done = tool("shellcheck")("--shell=sh", *scripts, bake)
    assert done.returncode == 0, done.stdout


def test_no_satellite_lets_anybody_in(machine, content):
    setup = content(recipe(machine), "/setup")
    assert re.search(r"systemctl mask sshd?\.service", setup)
    assert re.search(r"systemctl stop sshd?\.service", setup)
    assert "mask" not in content(recipe(replace(machine, ssh=True)), "/setup")
    assert "authorized" not in user_data(machine)


def test_a_machine_that_is_only_stopped_has_no_hibernation(machine):
    plain = recipe(replace(machine, hibernate=False))
    assert "ec2-hibinit-agent" in recipe(machine).packages
    assert "ec2-hibinit-agent" not in plain.packages
    assert not any("nokaslr" in f.content or "hibinit" in f.content for f in plain.everything)
    slept = [f.path for f in recipe(machine).files if "system-sleep" in f.path]
    assert slept == ["/usr/lib/systemd/system-sleep/torpor"]
    assert not any("system-sleep" in f.path for f in plain.files)


def test_builds_have_what_their_git_sources_need(machine):
    packages = set(recipe(machine).packages)
    ssh = {"openssh-client", "openssh-clients"}
    assert ("git" in packages, bool(packages & ssh)) == (
        (machine.worker is Worker.BUILDKIT,) * 2  # a Bazel cache fetches nothing
    )


def test_workers_come_with_a_checksum_for_both_architectures(machine, content):
    setup = content(recipe(machine), "/setup")
    assert len(set(re.findall(r"\b[0-9a-f]{64}\b", setup))) == 2
    assert all(url.startswith("https://") for url in re.findall(r"\S+://\S+", setup))


@pytest.mark.parametrize("worker", Worker)
def test_the_command_prints_the_same(worker, capsys):
    assert main(["user-data", "--worker", worker, "--no-hibernate"]) == 0
    assert capsys.readouterr().out == user_data(Machine(worker=worker, hibernate=False))
    assert main(["image-script", "--worker", worker]) == 0
    assert capsys.readouterr().out == image_script(Machine(worker=worker))


def test_the_command_says_what_is_wrong(capsys):
    assert main(["user-data", "--block-resolver"]) == 2
    assert "nameservers" in capsys.readouterr().err
