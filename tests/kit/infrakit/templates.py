"""CloudFormation templates as Python values: `!Sub x` is {"Fn::Sub": x}, `!Ref x` {"Ref": x}."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from torpor_provisioner.ec2.plan import MAX_USER_DATA

# What CloudFormation would fill in.
FILLED = {
    "Domain": "sat.example.com",
    "DrainSeconds": "600",
    "RouterProcesses": "2",
    "Deployment": "torpor",
    "AWS::Region": "eu-west-1",
    "AWS::StackName": "torpor",
    "Subnets": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "SatelliteGroup": "sg-0123456789abcdef0",
    "SatelliteProfile": "torpor-SatelliteProfile-ABCDEFGHIJKL",
    "SatelliteImageX86": "ami-0123456789abcdef0",
    "SatelliteImageArm": "ami-0123456789abcdef1",
    "ImageOwners": "self,amazon",
    "SatelliteTypeX86": "m7i.xlarge",
    "SatelliteTypeArm": "m7g.xlarge",
    "CacheGib": "100",
    "BuildsCidr": "100.127.0.0/16",
    "MaxMachines": "20",
    "MaxVcpus": "160",
    "HibernateArm": "false",
    "HibernationExpiry": "stop",
    "Sizes": "c7*.*,m7*.*",
    "CertificateSecret": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:door-AbCdEf",
    "TheDatabase": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:database-AbCdEf",
    "Log": "torpor-Log-ABCDEFGHIJKL",
    "StopSeconds": "3660",
    "Package": f"s3://acme-torpor/torpor/{'0' * 64}",
    "Worker": "buildkit",
    "WayOut": "rtb-1|0.0.0.0/0",
    "Baked": "",
    "TlsOption": "--tls-secret arn:aws:secretsmanager:eu-west-1:123456789012:secret:worker-AbCdEf",
}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _tagged(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name: value}


Loader.add_multi_constructor("!", _tagged)


@cache
def load(path: Path) -> dict[str, Any]:
    """A template; shared, so not to be changed."""
    loader = Loader(path.read_text())
    try:
        template: dict[str, Any] = loader.get_single_data()
    finally:
        loader.dispose()
    return template


def as_text(value: Any) -> Any:
    """The value with references written as `${Name}`, as infra/iam writes them."""
    match value:
        case {"Ref": name}:
            return "${%s}" % name  # noqa: UP031 - braces in an f-string would hide what this is
        case {"Fn::GetAtt": [name, attribute]}:
            return "${%s.%s}" % (name, attribute)  # noqa: UP031 - as above
        case {"Fn::Sub": [text, _]} | {"Fn::Sub": text}:
            return text
        case {"Fn::If": [_, made, _]}:
            return as_text(made)
        case dict():
            return {key: as_text(one) for key, one in value.items()}
        case list():
            return [as_text(one) for one in value]
    return value


def chosen(value: Any, conditions: Mapping[str, bool]) -> Any:
    """What an `!If` comes to."""
    match value:
        case {"Fn::If": [condition, yes, no]}:
            return chosen(yes if conditions[condition] else no, conditions)
    return value


def user_data(template: dict[str, Any]) -> str:
    """The routers' user data, its references still in it."""
    data = template["Resources"]["Template"]["Properties"]["LaunchTemplateData"]["UserData"]
    text: str = data["Fn::Base64"]["Fn::Sub"][0]
    return text


def files_of_a_router(template: dict[str, Any]) -> dict[str, str]:
    """The files of a router, as its user data writes them."""
    text = user_data(template)
    for name, value in FILLED.items():
        text = text.replace("$" + f"{{{name}}}", value)
    assert "${" not in text
    assert len(text.encode()) < MAX_USER_DATA
    return {file["path"]: file["content"] for file in yaml.safe_load(text)["write_files"]}
