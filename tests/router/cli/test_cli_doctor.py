"""`torpor doctor`, on machines that want something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from doorkit.authority import Authority

from torpor_provisioner.contract import Rehearsal
from torpor_provisioner.local import LocalProvisioner


def results(done) -> dict[str, str]:
    assert done.stdout, (done.output, done.exc_info)
    return {each["check"]: each["result"] for each in json.loads(done.stdout)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORPOR_LOCAL_ACCOUNTS", "router")
    return tmp_path


async def test_a_machine_that_is_well(torpor, here) -> None:
    door = Authority(here).issue(lives=90 * 86_400)
    await torpor("ca", "init")
    arguments = (
        *("--tls-cert", str(door.certificate), "--tls-key", str(door.key)),
        *("--client-ca", "client-ca.pem", "--client-ca-key", "client-ca.key"),
    )
    done = await torpor("doctor", *arguments, "--json")
    assert set(results(done).values()) == {"ok"}, done.stdout
    assert done.exit_code == 0
    shown = (await torpor("doctor", *arguments)).stdout
    assert "good until" in shown
    assert "0 machines of ours" in shown


@pytest.mark.parametrize(
    ("lives", "result", "exit_code"), [(86_400.0, "warning", 0), (-60.0, "bad", 3)]
)
async def test_a_certificate_that_ends(torpor, here, lives, result: str, exit_code: int) -> None:
    door = Authority(here).issue(lives=lives)
    done = await torpor(
        *("doctor", "--tls-cert", str(door.certificate), "--tls-key", str(door.key), "--json")
    )
    assert (results(done)["door's certificate"], done.exit_code) == (result, exit_code)


async def test_what_does_not_fit_or_is_not_there(torpor, here) -> None:
    authority = Authority(here)
    one, other = authority.issue(), authority.issue()
    await torpor("ca", "init")
    done = await torpor(
        *("doctor", "--tls-cert", str(one.certificate), "--tls-key", str(other.key)),
        *("--client-ca", str(authority.path), "--client-ca-key", "client-ca.key"),
        *("--provisioner", "nowhere", "--json"),
    )
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert done.exit_code == 3
    bad = {check for check, each in found.items() if each["result"] == "bad"}
    assert bad == {"door's certificate", "client CA's key", "cloud nowhere"}
    assert found["client CA's key"]["found"].startswith("TPR-1155")
    assert all(found[check]["remedy"] for check in bad)


async def test_what_a_cloud_does_not_allow(torpor, here, monkeypatch) -> None:
    async def rehearse(_: LocalProvisioner) -> dict[str, Rehearsal]:
        return {
            "1/eu-central-1": Rehearsal({"StartInstances"}, {}, {"AttachVolume"}),
            "2/eu-west-1": Rehearsal((), {"RunInstances": "RunInstances: UnauthorizedOperation"}),
        }

    monkeypatch.setattr(LocalProvisioner, "rehearse", rehearse, raising=False)
    done = await torpor("doctor", "--json")
    assert done.exit_code == 3
    well, bad = [each for each in json.loads(done.stdout) if each["check"] == "rights in local"]
    assert (well["result"], bad["result"]) == ("ok", "bad")
    assert well["found"].startswith("1/eu-central-1: all 1 calls that were tried are allowed; 1 ")
    assert bad["found"] == "2/eu-west-1: RunInstances: UnauthorizedOperation"
    assert bad["remedy"].startswith("allow RunInstances there")


async def test_a_database_that_wants_something(torpor, here, empty_database_url) -> None:
    done = await torpor("doctor", "--json", url=empty_database_url)
    assert results(done)["migrations"] == "warning"
    away = await torpor("doctor", "--json", url="postgresql://x@127.0.0.1:1/x")
    assert (results(away)["database"], away.exit_code) == ("bad", 3)
    none = await torpor("doctor", "--json", url="")
    assert json.loads(none.stdout)[0]["found"].startswith("TPR-5102")
