"""CloudFormation templates as Python values: `!Sub x` is {"Fn::Sub": x}, `!Ref x` {"Ref": x}."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _tagged(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
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


def user_data(template: dict[str, Any]) -> str:
    """The routers' user data, its references still in it."""
    data = template["Resources"]["Template"]["Properties"]["LaunchTemplateData"]["UserData"]
    text: str = data["Fn::Base64"]["Fn::Sub"][0]
    return text
