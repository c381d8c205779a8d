"""The page "Torpor on AWS": its commands, as far as they can be run here, and its tables."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from infrakit.evaluator import as_list
from infrakit.templates import load

from torpor_provisioner.ec2.settings import Place
from torpor_router.routing import identity


@pytest.fixture(scope="module")
def page(docs: Path) -> str:
    return (docs / "aws.md").read_text()


@pytest.fixture(scope="module")
def blocks(page: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def made(tool, blocks, tmp_path_factory) -> Path:
    """The folder in which step 1 was followed, with an `aws` that keeps the secret."""
    tool("openssl")
    folder = tmp_path_factory.mktemp("try", numbered=True)
    aws = folder / "bin" / "aws"
    aws.parent.mkdir()
    aws.write_text("#!/bin/sh\ncp door.json secret\n")
    aws.chmod(0o755)
    environment = os.environ | {"PATH": f"{aws.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", blocks[0]],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_step_one_makes_certificates_that_hold(made, tool):
    for name in ("door.pem", "acme.pem"):
        done = tool("openssl")("verify", "-x509_strict", "-CAfile", made / "ca.pem", made / name)
        assert done.returncode == 0, done.stdout + done.stderr
    named = tool("openssl")(
        "x509", "-noout", "-checkhost", "one--acme.builds.example.com", "-in", made / "door.pem"
    )
    assert "does match" in named.stdout


def test_the_clients_certificate_speaks_for_the_org(made, tool):
    shown = tool("openssl")("x509", "-noout", "-ext", "subjectAltName", "-in", made / "acme.pem")
    [uri] = re.findall(r"URI:(\S+)", shown.stdout)
    assert identity(uri) == ("acme", None)


def test_the_secret_has_what_routers_read(made, infra):
    secret = json.loads((made / "secret").read_text())
    assert set(secret) == {"certificate", "key", "client_ca"}
    assert all("-----BEGIN" in text for text in secret.values())
    reader = (infra / "systemd" / "secrets").read_text()
    assert all(f'"{name}"' in reader for name in secret)


def test_commands_name_parameters_that_there_are(page, blocks, infra):
    known = load(infra / "cloudformation" / "torpor.yaml")["Parameters"]
    deployments = [b.replace("\\\n", " ") for b in blocks if "--parameter-overrides" in b]
    assert len(deployments) == 2
    for block in deployments:
        [line] = [one for one in block.splitlines() if "--parameter-overrides" in one]
        words = shlex.split(line.split("--parameter-overrides", 1)[1])
        assert words
        assert {word.split("=", 1)[0] for word in words} <= set(known)
        assert "CAPABILITY_IAM" in line


def test_the_stack_is_given_what_the_page_has_published(blocks, infra):
    [block] = [b for b in blocks if "publish" in b]
    [script] = re.findall(r"package=\$\((\S+) ", block)
    assert os.access(infra.parent / script, os.X_OK)
    assert 'Package="$package"' in block


def test_the_shell_of_the_page_is_sound(blocks, tool, tmp_path):
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.sh"
        file.write_text(block.replace("...", "x"))
        # Names that an earlier block has set, and a pipe that the reader is to complete.
        done = tool("shellcheck")("--shell=sh", "--exclude=SC2034,SC2154", file)
        assert done.returncode == 0, done.stdout


def test_every_permission_is_explained(page, infra):
    for file in (infra / "iam").glob("*.json"):
        for statement in json.loads(file.read_text())["Statement"]:
            assert f"`{statement['Sid']}`" in page
            assert as_list(statement["Action"])


def test_the_table_of_an_org_has_keys_that_there_are(page):
    [table] = re.findall(r"```toml\n\[acme\]\n(.*?)```", page, re.DOTALL)
    keys = set(re.findall(r"(?m)^(\w+) =", table))
    assert keys
    assert keys <= set(Place.__dataclass_fields__)
