"""The templates as texts: lint, policies, the routers' user data, documentation."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from infrakit.templates import FILLED, as_text, chosen, files_of_a_router, load, user_data

from torpor_provisioner import identity
from torpor_provisioner.bootstrap.__main__ import main as bootstrap
from torpor_provisioner.ec2.environment import settings_from
from torpor_provisioner.ec2.settings import ALLOWED_SIZES, MAX_MACHINES, MAX_VCPUS
from torpor_router.names import DEFAULT_DOOR_PORT, DEFAULT_METRICS_PORT
from torpor_router.serve.command import serve

STACKS = ["torpor", "customer"]


@pytest.fixture(params=STACKS)
def template(request, infra) -> dict[str, Any]:
    return load(infra / "cloudformation" / f"{request.param}.yaml")


@pytest.fixture
def main_stack(infra) -> dict[str, Any]:
    return load(infra / "cloudformation" / "torpor.yaml")


@pytest.fixture
def node(main_stack) -> dict[str, str]:
    return files_of_a_router(main_stack)


def test_cfn_lint_finds_nothing(tool, infra):
    files = sorted((infra / "cloudformation").glob("*.yaml"))
    assert [file.stem for file in files] == sorted(STACKS)
    done = tool("cfn-lint")(*files)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_parameter_is_documented(template, docs):
    page = (docs / "aws.md").read_text()
    for name, parameter in template["Parameters"].items():
        assert f"| `{name}` |" in page, f"{name} has no row in docs/aws.md"
        assert parameter["Description"].endswith((".", "}")), name


def test_only_what_cannot_be_guessed_must_be_given(main_stack):
    without = {n for n, p in main_stack["Parameters"].items() if "Default" not in p}
    assert without == {"CertificateSecret", "Package"}


def test_every_parameter_stands_in_a_group(main_stack):
    groups = main_stack["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]
    assert sorted(shown) == sorted(main_stack["Parameters"])


def test_the_machines_policy_is_the_one_of_infra_iam(template, infra):
    document = template["Resources"]["MachinesPolicy"]["Properties"]["PolicyDocument"]
    assert as_text(document) == json.loads((infra / "iam" / "machines.json").read_text())


def test_the_routers_policy_is_the_one_of_infra_iam(main_stack, infra):
    [policy] = main_stack["Resources"]["RouterRole"]["Properties"]["Policies"]
    assert as_text(policy["PolicyDocument"]) == json.loads(
        (infra / "iam" / "router.json").read_text()
    )


def test_a_cap_stands_where_nothing_is_said(main_stack, infra):
    customers = load(infra / "cloudformation" / "customer.yaml")["Parameters"]
    stack = main_stack["Parameters"]
    told = (stack["MaxMachines"]["Default"], stack["MaxVcpus"]["Default"])
    assert told == (MAX_MACHINES, MAX_VCPUS)
    for parameters in (stack, customers):
        assert parameters["AllowedSizes"]["Default"] == ",".join(ALLOWED_SIZES)


def test_session_manager_may_let_people_in_and_read_nothing(main_stack):
    assert "ManagedPolicyArns" not in main_stack["Resources"]["RouterRole"]["Properties"]
    policy = main_stack["Resources"]["SessionPolicy"]["Properties"]["PolicyDocument"]
    [statement] = policy["Statement"]
    assert all(
        re.fullmatch(
            "ssm:UpdateInstanceInformation|ssmmessages:(Create|Open)(Control|Data)Channel", a
        )
        for a in statement["Action"]
    )


def test_nothing_is_installed_by_a_name_that_anybody_may_register(main_stack, node):
    package = main_stack["Parameters"]["Package"]
    assert "Default" not in package
    assert not re.fullmatch(package["AllowedPattern"], "torpor==0.1.0")
    assert not re.fullmatch(package["AllowedPattern"], "https://example.com/torpor.whl")
    assert re.fullmatch(package["AllowedPattern"], FILLED["Package"])
    installs = re.findall(r"pip install ((?:.*\\\n)*.*)", node["/usr/libexec/torpor/setup"])
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]


def test_a_customers_role_asks_for_the_external_id(infra):
    role = load(infra / "cloudformation" / "customer.yaml")["Resources"]["MachinesRole"]
    [statement] = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert as_text(statement["Principal"]) == {"AWS": "${RouterRole}"}
    assert as_text(statement["Condition"]) == {
        "StringEquals": {"sts:ExternalId": "${ExternalId}"},
    }
    # Where the routers' policy lets them go.
    assert as_text(role["Properties"]["Path"]) == "/torpor/${Deployment}/"


@pytest.mark.parametrize("secret", ["", "arn:aws:secretsmanager:eu-west-1:1:secret:worker"])
def test_a_satellite_reads_its_workers_certificate_and_nothing_else(template, secret):
    """Its role is that of whoever is root on it, and of what its image starts."""
    properties = template["Resources"]["SatelliteRole"]["Properties"]
    assert set(properties) == {"AssumeRolePolicyDocument", "Policies"}
    assert not any(
        properties["AssumeRolePolicyDocument"]["Statement"][0].get("Principal", {}).get(each)
        for each in ("AWS", "Federated")
    )
    known = {"HasWorkerSecret": bool(secret)}
    assert template["Conditions"]["HasWorkerSecret"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "WorkerSecret"}, ""]}]
    }
    policies = chosen(properties["Policies"], known)
    if not secret:
        assert policies == {"Ref": "AWS::NoValue"}
        return
    [statement] = [each for p in policies for each in p["PolicyDocument"]["Statement"]]
    assert statement == {
        "Effect": "Allow",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": {"Ref": "WorkerSecret"},
    }


def test_satellites_serve_tls_where_the_stack_has_a_certificate_for_them(main_stack):
    data = main_stack["Resources"]["Template"]["Properties"]["LaunchTemplateData"]["UserData"]
    option = data["Fn::Base64"]["Fn::Sub"][1]["TlsOption"]
    assert as_text(chosen(option, {"HasWorkerSecret": True})) == "--tls-secret ${WorkerSecret}"
    assert chosen(option, {"HasWorkerSecret": False}) == ""


@pytest.mark.parametrize("name", ["", "worker", "arn:aws:s3:::worker", "x arn:aws:secretsmanager:"])
def test_the_workers_secret_is_named_by_its_arn_or_not_at_all(template, name):
    allowed = re.fullmatch(template["Parameters"]["WorkerSecret"]["AllowedPattern"], name)
    assert bool(allowed) == (name == "")


def test_nothing_is_open_but_the_door(template):
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::EC2::SecurityGroup":
            continue
        for rule in resource["Properties"]["SecurityGroupIngress"]:
            ranges = as_text(rule.get("CidrIp"))
            assert ranges in {None, "${ClientCidr}", "${RouterCidr}"}, name
            assert rule["IpProtocol"] == "tcp"
            # The worker's port and, on satellites, the next one: it tells which machine this is.
            last = identity.PORT if name == "SatelliteGroup" else rule["FromPort"]
            assert rule["ToPort"] == last


@pytest.mark.parametrize(
    "path",
    [
        "/etc/systemd/system/torpor.service",
        "/etc/systemd/system/torpor-drain.service",
        "/usr/libexec/torpor/drain",
        "/usr/libexec/torpor/secrets",
    ],
)
def test_routers_run_what_infra_systemd_has(path, node, infra):
    assert node[path] == (infra / "systemd" / path.rsplit("/", 1)[1]).read_text()


def test_cloud_init_takes_a_routers_user_data(main_stack, tool, tmp_path):
    file = tmp_path / "user-data"
    file.write_text(user_data(main_stack))
    done = tool("cloud-init")("schema", "--config-file", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shell_on_routers_is_sound(node, tool, tmp_path):
    (tmp_path / "torpor").write_text(node["/usr/bin/torpor"])
    for path in ("setup", "drain", "secrets"):
        (tmp_path / path).write_text(node[f"/usr/libexec/torpor/{path}"])
    done = tool("shellcheck")("--shell=sh", *tmp_path.iterdir())
    assert done.returncode == 0, done.stdout


def test_every_option_of_a_router_is_one_of_serve(node, infra):
    named = {parameter.name for parameter in serve.params} | {"provisioners"}
    generic = (infra / "systemd" / "router.env").read_text()
    for text in (node["/etc/torpor/router.env"], generic, node["/usr/libexec/torpor/secrets"]):
        options = set(re.findall(r"TORPOR_(?!EC2_)([A-Z_]*[A-Z])\b(?!_)", text))
        assert {option.lower() for option in options} <= named
    asked = node["/usr/libexec/torpor/secrets"]
    for option in ("TLS_CERT", "TLS_KEY", "CLIENT_CA", "WORKER_CA", "WORKER_CERT", "WORKER_KEY"):
        assert option in asked
        assert option.lower() in named


def test_the_provisioner_takes_what_it_is_told(node, tmp_path):
    environ = dict(
        line.split("=", 1) for line in node["/etc/torpor/router.env"].splitlines() if "=" in line
    )
    (tmp_path / "satellite").write_text("#cloud-config\n")
    assert environ["TORPOR_EC2_USER_DATA"] == "/etc/torpor/satellite"
    environ["TORPOR_EC2_USER_DATA"] = str(tmp_path / "satellite")
    settings = settings_from(environ)
    assert settings.place.subnets == tuple(FILLED["Subnets"].split(","))
    assert settings.place.max_machines == 20
    assert settings.place.max_vcpus == 160
    assert settings.allowed_sizes == ("c7*.*", "m7*.*")
    assert settings.port == 8372


def test_a_router_can_write_the_user_data_of_its_satellites(node, capsys):
    setup = node["/usr/libexec/torpor/setup"].replace("\\\n", "")
    [command] = re.findall(r"torpor_provisioner\.bootstrap (.*) >/etc/torpor/satellite", setup)
    networks = "--network 10.87.0.0/16 --network fd00:87::/56"
    assert bootstrap(command.replace("$networks", networks).split()) == 0
    assert capsys.readouterr().out.startswith("#cloud-config")
    assert bootstrap(["baked-user-data", "--worker", "bazel-cache"]) == 0


def test_the_door_says_who_the_client_is_and_the_router_listens(main_stack, node):
    attributes = main_stack["Resources"]["Targets"]["Properties"]["TargetGroupAttributes"]
    assert {"Key": "proxy_protocol_v2.enabled", "Value": "true"} in attributes
    assert "TORPOR_PROXY_PROTOCOL=true\n" in node["/etc/torpor/router.env"]


def test_ports_are_the_routers_own(main_stack, node):
    resources = main_stack["Resources"]
    assert resources["Targets"]["Properties"]["Port"] == DEFAULT_DOOR_PORT
    assert f":{DEFAULT_DOOR_PORT}\n" in node["/etc/torpor/router.env"]
    assert f":{DEFAULT_METRICS_PORT}\n" in node["/etc/torpor/router.env"]
    assert resources["RouterMetrics"]["Properties"]["FromPort"] == DEFAULT_METRICS_PORT
    # With the PROXY header on, health checks carry it: the door must answer them.
    assert resources["Targets"]["Properties"]["HealthCheckProtocol"] == "TCP"
    assert "HealthCheckPort" not in resources["Targets"]["Properties"]


def test_a_router_that_goes_has_the_time_to_drain(main_stack, node):
    longest = main_stack["Parameters"]["DrainSeconds"]["MaxValue"]
    [hook] = main_stack["Resources"]["Routers"]["Properties"]["LifecycleHookSpecificationList"]
    stop = re.search(r"TimeoutStopSec=(\d+)", node["/etc/systemd/system/torpor.service.d/aws.conf"])
    assert stop
    assert longest < int(stop[1]) < hook["HeartbeatTimeout"]
    assert f"--lifecycle-hook-name {hook['LifecycleHookName']}" in node["/usr/libexec/torpor/drain"]


def test_a_routers_log_has_a_folder_before_it_starts(node):
    drop_in = node["/etc/systemd/system/torpor.service.d/aws.conf"]
    log = re.search(r"StandardOutput=append:(/\S+)/[^/\s]+\n", drop_in)
    assert log
    assert "LogsDirectory" not in drop_in
    assert re.search(rf"install -d .*{log[1]}\n", node["/usr/libexec/torpor/setup"])
    assert f'"file_path": "{log[1]}/' in next(v for k, v in node.items() if "cloudwatch" in k)


def test_a_reload_fetches_the_secrets_before_the_router_reads_them(node):
    drop_in = node["/etc/systemd/system/torpor.service.d/aws.conf"]
    reload = re.findall(r"(?m)^ExecReload=(.*)$", drop_in)
    assert reload == ["", "+/usr/libexec/torpor/secrets", "/bin/kill -HUP $MAINPID"]


def test_routers_are_out_of_the_reach_of_torpor_itself(main_stack):
    """They must not carry the tag by which Torpor may end machines."""
    launched = main_stack["Resources"]["Template"]["Properties"]["LaunchTemplateData"]
    tags = [tag["Key"] for kind in launched["TagSpecifications"] for tag in kind["Tags"]]
    assert tags == ["Name"]
    [mark] = main_stack["Resources"]["Routers"]["Properties"]["Tags"]
    assert (mark["Key"], mark["PropagateAtLaunch"]) == ("torpor:deployment", False)


def test_every_alarm_tells_somebody_and_is_explained(main_stack, docs):
    page = (docs / "aws.md").read_text()
    alarms = {n: r for n, r in main_stack["Resources"].items() if r["Type"].endswith("::Alarm")}
    assert len(alarms) >= 5
    for name, alarm in alarms.items():
        assert alarm["Properties"]["AlarmActions"]["Fn::If"][0] == "HasAlarmEmail"
        assert f"| `{name}` |" in page, f"{name} has no row in docs/aws.md"
