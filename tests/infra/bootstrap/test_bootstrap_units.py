"""The files a satellite gets, each read by the program that it is for."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from configparser import RawConfigParser
from dataclasses import replace
from pathlib import Path

import pytest

from torpor_provisioner import identity
from torpor_provisioner.bootstrap import Machine, System, Worker, recipe

# cmd/buildkitd/config/config.go of moby/buildkit, as far as a satellite may want it.
GC = {"gc", "reservedSpace", "maxUsedSpace", "minFreeSpace", "gcpolicy"}
OCI = {"enabled", "snapshotter", "binary", "defaultCgroupParent", "max-parallelism"}
OCI |= {"networkMode", "bridgeName", "bridgeSubnet"}
POLICY = {"all", "filters", "keepDuration", "reservedSpace", "maxUsedSpace", "minFreeSpace"}


@pytest.fixture
def unit(content) -> Callable[[Machine, str], RawConfigParser]:
    def read(machine: Machine, name: str) -> RawConfigParser:
        parsed = RawConfigParser(strict=False)
        parsed.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names are case-sensitive
        parsed.read_string(content(recipe(machine), f"/{name}"))
        return parsed

    return read


@pytest.fixture
def with_programs(laid) -> Callable[[Machine], Path]:
    """A machine's files, and an empty program wherever a unit names one of the system's."""

    def lay(machine: Machine) -> Path:
        root = laid(machine)
        units = [f for f in recipe(machine).everything if f.path.startswith("/etc/systemd")]
        for path in re.findall(r"Exec\w+=[-+!@:]*(/\S+)", "".join(f.content for f in units)):
            at = root / path.lstrip("/")
            if path.startswith("/usr/libexec/torpor/"):
                assert os.access(at, os.X_OK), f"{path} is named by a unit but not laid"
            else:
                at.parent.mkdir(parents=True, exist_ok=True)
                at.touch(mode=0o755)
        return root

    return lay


@pytest.mark.parametrize("secret", ["", "torpor/worker"])
def test_systemd_takes_the_units(secret, machine, verified, with_programs):
    root = with_programs(replace(machine, tls_secret=secret))
    ours = sorted((root / "etc/systemd/system").glob("torpor*.*[!d]"))
    assert len(ours) >= 9
    assert verified(root, *ours) == ""


def test_systemd_would_have_found_a_mistake(verified, with_programs):
    """The check above is worth something: one wrong word fails it."""
    root = with_programs(Machine())
    at = root / "etc/systemd/system/torpor.slice"
    at.write_text(at.read_text().replace("MemorySwapMax", "MemorySwapMost"))
    assert "MemorySwapMost" in verified(root, at)


def test_every_unit_that_is_enabled_is_there(machine, content):
    made = recipe(machine)
    (enabled,) = re.findall(r"systemctl enable (.*)", content(made, "/setup"))
    ours = {f.path.rsplit("/", 1)[1] for f in made.files if "/systemd/" in f.path}
    for name in enabled.split():
        assert name in ours or name.split(".")[0] in {"chrony", "chronyd", "hibinit-agent"}
        if name in ours:
            assert "[Install]" in content(made, f"/{name}"), f"{name} cannot be enabled"


@pytest.mark.parametrize("system", System)
def test_builds_are_confined_and_the_worker_is_not(system, unit):
    machine = Machine(system=system)
    builds = unit(machine, "torpor-builds.slice")["Slice"]
    worker = unit(machine, "torpor-worker.service")["Service"]
    assert (builds["MemoryMax"], builds["MemorySwapMax"]) == ("85%", "0")
    assert worker["Slice"] == "torpor.slice"  # the parent of torpor-builds.slice, by its name
    assert "MemoryMax" not in worker
    assert "CPUQuota" not in worker
    assert int(worker["CPUWeight"]) > int(builds["CPUWeight"])
    assert worker["MemoryMin"] == unit(machine, "torpor.slice")["Slice"]["MemoryMin"]
    assert int(worker["OOMScoreAdjust"]) == -900
    assert worker["OOMPolicy"] == "continue"


def test_a_bazel_cache_is_bounded_itself_and_is_nobody(unit):
    worker = unit(Machine(worker=Worker.BAZEL_CACHE), "torpor-worker.service")["Service"]
    assert worker["MemoryMax"] == "85%"
    assert worker["User"] == "torpor-bazel"


def test_nothing_of_the_worker_swaps_or_sees_the_metadata_service(machine, unit):
    above = unit(machine, "torpor.slice")["Slice"]
    assert above["MemorySwapMax"] == "0"
    assert "169.254.169.254" in above["IPAddressDeny"]


def test_buildkit_knows_every_key_of_its_configuration(content):
    machine = Machine(block_resolver=True, nameservers=("9.9.9.9", "2620:fe::fe"))
    config = tomllib.loads(content(recipe(machine), "/buildkitd.toml"))
    assert set(config) == {
        "root",
        "insecure-entitlements",
        "log",
        "history",
        "worker",
        "dns",
        "frontend",
    }
    assert set(config["worker"]) == {"oci", "containerd"}
    assert set(config["worker"]["oci"]) <= OCI | GC
    assert all(set(policy) <= POLICY for policy in config["worker"]["oci"]["gcpolicy"])
    assert config["dns"] == {"nameservers": ["9.9.9.9", "2620:fe::fe"]}
    assert config["insecure-entitlements"] == []


@pytest.mark.parametrize("percent", [10, 80, 85])
def test_buildkit_always_has_something_it_may_collect(percent, content):
    machine = Machine(cache_percent=percent)
    config = tomllib.loads(content(recipe(machine), "/buildkitd.toml"))
    policies = config["worker"]["oci"]["gcpolicy"]
    share = [{k: int(v[:-1]) for k, v in p.items() if str(v).endswith("%")} for p in policies]
    for policy in share:
        assert policy["maxUsedSpace"] + policy["minFreeSpace"] < 100
        assert policy.get("reservedSpace", 0) < policy["maxUsedSpace"]
    assert policies[-1]["all"] is True
    assert share[-1]["maxUsedSpace"] == percent
    # One filter of several, not all of them at once: that is what commas within one would mean.
    assert policies[0]["filters"] == [
        "type==source.local",
        "type==exec.cachemount",
        "type==source.git.checkout",
    ]
    # Below what is kept free there is the ballast, which collection itself may use.
    assert share[-1]["minFreeSpace"] > 2


def test_builds_go_where_the_limits_are(content, unit):
    config = tomllib.loads(content(recipe(Machine()), "/buildkitd.toml"))["worker"]["oci"]
    assert config["defaultCgroupParent"] == "/torpor.slice/torpor-builds.slice"
    assert config["binary"] in {f.path for f in recipe(Machine()).files}
    assert config["networkMode"] == "bridge"


def test_the_firewall_and_buildkit_speak_of_one_bridge(content):
    made = recipe(Machine(bridge="172.31.0.0/20"))
    config = tomllib.loads(content(made, "/buildkitd.toml"))["worker"]["oci"]
    assert config["bridgeSubnet"] == "172.31.0.0/20"
    assert f'iifname "{config["bridgeName"]}" counter drop' in content(made, "/firewall.nft")


def test_the_identity_service_starts_behind_the_firewall(machine, unit):
    socket = unit(machine, "torpor-identity.socket")
    assert socket["Unit"]["Requires"] == socket["Unit"]["After"] == "torpor-firewall.service"
    assert socket["Socket"]["ListenStream"] == f"0.0.0.0:{identity.PORT}"
    service = unit(machine, "torpor-identity@.service")["Service"]
    assert (service["StandardInput"], service["StandardOutput"]) == ("null", "socket")


def test_the_clock_is_stepped_whenever_it_is_off(machine, content, tool, tmp_path):
    config = content(recipe(machine), "/torpor.conf")
    assert re.search(r"(?m)^makestep 1\.0 -1$", config)
    file = tmp_path / "chrony.conf"
    file.write_text(config)
    done = tool("chronyd")("-p", "-f", file)  # prints its configuration and ends
    assert done.returncode == 0, done.stderr
    assert "makestep 1.0 -1" in done.stdout


def test_a_resume_sets_the_clock_after_it(machine, unit):
    resumed = unit(machine, "torpor-resumed.service")
    assert resumed["Unit"]["After"] == resumed["Install"]["WantedBy"] == "hibernate.target"


@pytest.mark.parametrize("system", System)
def test_the_resolver_is_blocked_only_where_asked(system, content):
    plain = content(recipe(Machine(system=system)), "/firewall.nft")
    assert "169.254.169.253" not in plain
    asked = Machine(
        system=system,
        block_resolver=True,
        resolvers=("10.0.0.2", "fd00:10::2"),
        nameservers=("9.9.9.9",),
    )
    rules = content(recipe(asked), "/firewall.nft")
    for address in ("ip daddr 169.254.169.253", "ip daddr 10.0.0.2", "ip6 daddr fd00:10::2"):
        assert rules.count(address) == 2


def test_nft_takes_the_rules(machine, tool, tmp_path, content):
    if os.geteuid() != 0:
        pytest.skip("nft checks rules against the kernel, which only root may ask")
    for number, kind in enumerate(
        (
            machine,
            replace(machine, block_resolver=True, resolvers=("fd00::2",), nameservers=("9.9.9.9",)),
        )
    ):
        file = tmp_path / f"{number}.nft"
        file.write_text(content(recipe(kind), "/firewall.nft"))
        done = tool("nft")("--check", "--file", file)
        assert done.returncode == 0, done.stderr


def test_sysctl_settings_exist_on_linux(machine, content):
    settings = re.findall(r"(?m)^([\w.]+) = (\d+)$", content(recipe(machine), "90-torpor.conf"))
    assert len(settings) >= 8
    for name, _ in settings:
        assert Path("/proc/sys", *name.split(".")).exists(), name


def test_a_worker_with_a_certificate_does_not_start_without_it(machine, unit, content):
    secured = replace(machine, tls_secret="torpor/worker")
    needs = unit(secured, "torpor-worker.service.d/tls.conf")["Unit"]
    assert needs["Requires"] == needs["After"] == "torpor-tls.service"
    options = "".join(f.content for f in recipe(secured).files)
    assert "/run/torpor-tls/key.pem" in options
    assert "/run/torpor-tls" not in "".join(f.content for f in recipe(machine).files)
