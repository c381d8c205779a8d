"""The Kubernetes manifest: as the API's own schemas want it, and as the image and `serve` are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from torpor_router.serve.command import serve
from torpor_router.serve.config import ServeConfig


@pytest.fixture(scope="module")
def objects(infra: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((infra / "kubernetes/torpor.yaml").read_text()))


@pytest.fixture(scope="module")
def pod(objects) -> dict[str, Any]:
    [deployment] = [each for each in objects if each["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


def test_the_api_takes_each_object_and_knows_each_field(objects) -> None:
    assert [each["kind"] for each in objects] == [
        *("ServiceAccount", "Deployment", "Service", "PodDisruptionBudget")
    ]
    for each in objects:
        kubernetes_validate.validate(each, "1.31", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**objects[1], "specs": {}}, "1.31", strict=True)


def test_what_it_sets_are_options_of_serve(pod) -> None:
    [container] = pod["containers"]
    options = {parameter.name for parameter in serve.params}
    for variable in (each["name"] for each in container["env"]):
        assert variable.removeprefix("TORPOR_").lower() in options, variable


def test_a_pod_is_given_the_time_to_drain(pod) -> None:
    [container] = pod["containers"]
    [drain] = [each["value"] for each in container["env"] if each["name"] == "TORPOR_DRAIN"]
    assert float(drain) == ServeConfig.__dataclass_fields__["drain"].default
    assert pod["terminationGracePeriodSeconds"] > float(drain)


def test_the_manifest_fits_the_image(pod, infra: Path) -> None:
    image = (infra / "docker/Dockerfile").read_text()
    [container] = pod["containers"]
    exposed = re.findall(r"(?m)^EXPOSE (.*)$", image)[0].split()
    assert [str(each["containerPort"]) for each in container["ports"]] == exposed
    assert f"USER {pod['securityContext']['runAsUser']}:" in image
    [volume] = re.findall(r"(?m)^VOLUME (.*)$", image)
    written = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert written == {volume, "/tmp"}, "with a root file system that cannot be written"
