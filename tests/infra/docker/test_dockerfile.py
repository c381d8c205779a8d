"""The container image: hadolint, what it copies, who it runs as; its recipe followed in a venv."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from torpor_router.serve.command import serve


@pytest.fixture(scope="module")
def dockerfile(infra: Path) -> Path:
    return infra / "docker" / "Dockerfile"


@pytest.fixture(scope="module")
def instructions(dockerfile: Path) -> list[str]:
    """One a line, comments and continuations taken away."""
    text = re.sub(r"(?m)^#.*\n", "", dockerfile.read_text())
    return [line for line in text.replace("\\\n", "").splitlines() if line]


@pytest.fixture(scope="module")
def copied(instructions: list[str]) -> set[str]:
    """What comes from the checkout."""
    lines = [line.split()[1:] for line in instructions if line.startswith("COPY ")]
    return {source for line in lines if not line[0].startswith("--") for source in line[:-1]}


def test_hadolint_finds_nothing(tool, dockerfile):
    done = tool("hadolint")("--failure-threshold", "style", dockerfile)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there(copied, infra):
    assert copied
    for source in copied:
        assert (infra.parent / source).exists(), source


def test_the_build_sees_what_is_copied_and_nothing_else(copied, dockerfile):
    lines = dockerfile.with_name("Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_all_that_the_package_is_made_of_is_copied(copied, infra):
    project = tomllib.loads((infra.parent / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    needed |= set(project["project"]["license-files"])
    needed.add(wheel["hooks"]["custom"]["path"])
    for path in needed:
        assert any(path == c or path.startswith(f"{c}/") for c in copied), path


def test_the_container_runs_under_any_account_and_serves(instructions):
    [user] = [line.split()[1] for line in instructions if line.startswith("USER ")]
    assert all(int(part) >= 10000 for part in user.split(":"))
    assert 'CMD ["serve"]' in instructions
    assert "STOPSIGNAL SIGTERM" in instructions
    images = [line.split()[1] for line in instructions if line.startswith("FROM ")]
    assert len(set(images)) == 1, "what is built for one Python must run on the same"
    assert all(
        re.fullmatch(r"python:3\.1[1-9]-slim-\w+@sha256:[0-9a-f]{64}", image) for image in images
    )


def test_its_variables_are_options_of_serve(instructions):
    [environment] = [line for line in instructions if line.startswith("ENV ")]
    names = {parameter.name for parameter in serve.params}
    options = re.findall(r"\bTORPOR_(\w+)=", environment)
    assert {option.lower() for option in options} <= names


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_wheel_in_an_empty_venv_has_working_commands(tmp_path, infra):
    """What the Dockerfile does, step by step, with this Python."""
    root = infra.parent
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"

    compiled = {**os.environ, "TORPOR_COMPILED": "1", "TORPOR_OPTIMIZE": "0"}

    def run(*words: object) -> str:
        done = subprocess.run(
            [*map(str, words)],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            env=compiled,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    quiet = ["--quiet", "--no-deps"]
    run(*pip, "wheel", *quiet, "--no-build-isolation", "--wheel-dir", wheels, root)
    [wheel] = wheels.glob("torpor-*-cp*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    install = [*pip, "--python", venv / "bin" / "python", "install", *quiet]
    run(*install, "--require-hashes", "-r", root / "requirements" / "run.txt")
    run(*install, wheel)
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    for command in ("torpor", "satellite"):
        assert version in run(venv / "bin" / command, "--version")
        assert "Usage:" in run(venv / "bin" / command, "--help")
    assert "--listen" in run(venv / "bin" / "torpor", "serve", "--help")
    bootstrap = run(venv / "bin" / "python", "-m", "torpor_provisioner.bootstrap", "user-data")
    assert bootstrap.startswith("#cloud-config"), "the satellite's files are in the wheel"
    scanner = "import torpor_router.h2.scanner as it; print(it.__file__)"
    assert not run(venv / "bin" / "python", "-c", scanner).strip().endswith(".py")
