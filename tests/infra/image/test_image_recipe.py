"""The image recipe: Packer takes it, and what it bakes is the bootstrap's own script."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from torpor_provisioner.bootstrap import Machine, System, Worker, image_script
from torpor_provisioner.contract import Arch

# What `build` says to Packer, kept, with the script as it was then.
PACKER = """#!/bin/sh
for word; do echo "$word"; done >"{told}"
for word; do case $word in script=*) cp "${{word#script=}}" "{baked}" ;; esac; done
"""


@pytest.fixture(scope="module")
def recipe_folder(infra: Path) -> Path:
    return infra / "image"


@pytest.mark.parametrize(
    ("system", "architecture"), [(System.AL2023, Arch.X86_64), (System.UBUNTU, Arch.ARM64)]
)
def test_packer_takes_it(system, architecture, tool, recipe_folder, tmp_path):
    text = (recipe_folder / "satellite.pkr.hcl").read_text()
    # Debian's Packer is 1.6, whose Amazon builder came before the block that asks for IMDSv2.
    older = re.sub(r"\n  metadata_options \{.*?\n  \}\n", "\n", text, flags=re.DOTALL)
    assert older != text
    script = tmp_path / "script"
    script.write_text(image_script(Machine(system=system)))
    recipe = tmp_path / "satellite.pkr.hcl"
    recipe.write_text(older)
    values = {
        "script": script,
        "checksum": "0" * 64,
        "architecture": architecture,
        "system": system,
        "worker": "buildkit",
    }
    given = [word for name, value in values.items() for word in ("-var", f"{name}={value}")]
    done = tool("packer")("validate", *given, recipe, env=os.environ | {"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_ubuntu_is_one_that_may_hibernate(recipe_folder):
    """AWS lists none newer than 22.04 ("Prerequisites for EC2 instance hibernation")."""
    text = (recipe_folder / "satellite.pkr.hcl").read_text()
    assert re.findall(r"ubuntu-\w+-(\d\d\.\d\d)-(amd64|arm64)", text) == [
        ("22.04", "amd64"),
        ("22.04", "arm64"),
    ]


@pytest.mark.parametrize("worker", Worker)
@pytest.mark.parametrize("system", System)
def test_the_image_bakes_what_the_bootstrap_writes(system, worker, recipe_folder, tmp_path):
    told, baked, packer = tmp_path / "told", tmp_path / "baked", tmp_path / "packer"
    packer.write_text(PACKER.format(told=told, baked=baked))
    packer.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "SYSTEM": system,
        "WORKER": worker,
        "OPTIONS": "--memory-percent 70",
    }
    subprocess.run([recipe_folder / "build", "arm64"], env=environment, check=True, cwd=tmp_path)
    script = image_script(Machine(system=system, worker=worker, memory_percent=70))
    assert baked.read_text() == script
    words = told.read_text().split()
    assert words[0] == "build"
    assert words[-1] == "."
    variables = {word.split("=", 1)[0] for word in words if "=" in word}
    declared = re.findall(r'variable "(\w+)"', (recipe_folder / "satellite.pkr.hcl").read_text())
    assert variables == set(declared) - {"region", "subnet"}
    assert f"checksum={hashlib.sha256(script.encode()).hexdigest()}" in words


def test_packers_plugin_is_one_version(recipe_folder):
    """Not whichever is newest when an image is made: it runs with the builder's rights on AWS."""
    plugins = (recipe_folder / "plugins.pkr.hcl").read_text()
    versions = re.findall(r'version *= *"(.*)"', plugins)
    assert len(versions) == len(re.findall(r"source *=", plugins)) > 0
    assert all(re.fullmatch(r"= \d+\.\d+\.\d+", each) for each in versions), versions


def test_a_build_without_an_architecture_says_what_is_missing(recipe_folder):
    done = subprocess.run([recipe_folder / "build"], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "x86_64 or arm64" in done.stderr


def test_the_recipe_is_formatted_and_its_shell_is_sound(tool, recipe_folder):
    formatted = tool("packer")("fmt", "-check", "-diff", recipe_folder)
    assert formatted.returncode == 0, formatted.stdout
    sound = tool("shellcheck")(recipe_folder / "build")
    assert sound.returncode == 0, sound.stdout


def test_an_image_keeps_nothing_of_the_machine_that_made_it(recipe_folder):
    script = image_script(Machine())
    assert "cloud-init clean" in script
    assert "ssh_host_" in script
    assert "encrypt_boot    = true" in (recipe_folder / "satellite.pkr.hcl").read_text()
