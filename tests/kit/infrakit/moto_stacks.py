"""What our stacks need of CloudFormation and moto 5.2 lacks, so that all of a stack is deployed.

Resources that moto's CloudFormation would leave out go to the backends that moto has for them;
Fn::Cidr is worked out beforehand; a load balancer keeps its type and attributes. Whatever else moto
does not know is a warning, and warnings are errors here: nothing is left out silently.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Mapping
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.cloudformation import parsing
from moto.cloudwatch.models import cloudwatch_backends
from moto.elbv2.models import FakeLoadBalancer, FakeTargetGroup, elbv2_backends
from moto.logs.models import logs_backends
from moto.secretsmanager.models import secretsmanager_backends


class Added:
    """One made resource, of a kind that moto's CloudFormation does not know."""

    KIND = ""

    def __init__(self, physical_resource_id: str) -> None:
        self.physical_resource_id = physical_resource_id
        self.type = self.KIND

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Id"

    def is_created(self) -> bool:
        return True

    @classmethod
    def delete_from_cloudformation_json(cls, *_: Any) -> None:
        """The server ends with the test."""


class Secret(Added):
    KIND = "AWS::SecretsManager::Secret"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> Secret:
        asked = cloudformation_json["Properties"]["GenerateSecretString"]
        value = json.loads(asked["SecretStringTemplate"])
        value[asked["GenerateStringKey"]] = secrets.token_hex(int(asked["PasswordLength"]) // 2)
        made = secretsmanager_backends[account_id][region_name].create_secret(
            resource_name, json.dumps(value), None, None, None, None, None, [], False
        )
        return cls(json.loads(made)["ARN"])


class SecretTargetAttachment(Added):
    KIND = "AWS::SecretsManager::SecretTargetAttachment"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> SecretTargetAttachment:
        return cls(cloudformation_json["Properties"]["SecretId"])


class MetricAlarm(Added):
    KIND = "AWS::CloudWatch::Alarm"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> MetricAlarm:
        asked = cloudformation_json["Properties"]
        cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=resource_name,
            namespace=asked["Namespace"],
            metric_name=asked["MetricName"],
            comparison_operator=asked["ComparisonOperator"],
            evaluation_periods=int(asked["EvaluationPeriods"]),
            period=int(asked["Period"]),
            threshold=float(asked["Threshold"]),
            statistic=asked["Statistic"],
            description=asked["AlarmDescription"],
            dimensions=asked.get("Dimensions", []),
            alarm_actions=asked.get("AlarmActions", []),
            ok_actions=asked.get("OKActions", []),
            treat_missing_data=asked["TreatMissingData"],
        )
        return cls(resource_name)


class MetricFilter(Added):
    KIND = "AWS::Logs::MetricFilter"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> MetricFilter:
        asked = cloudformation_json["Properties"]
        logs_backends[account_id][region_name].put_metric_filter(
            resource_name,
            asked["FilterPattern"],
            asked["LogGroupName"],
            asked["MetricTransformations"],
        )
        return cls(resource_name)


class ScalingPolicy(Added):
    KIND = "AWS::AutoScaling::ScalingPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> ScalingPolicy:
        asked = cloudformation_json["Properties"]
        made = autoscaling_backends[account_id][region_name].put_scaling_policy(
            name=resource_name,
            policy_type=asked["PolicyType"],
            metric_aggregation_type="",
            adjustment_type="",
            as_name=asked["AutoScalingGroupName"],
            min_adjustment_magnitude="",
            scaling_adjustment=None,
            cooldown=None,
            target_tracking_config=asked["TargetTrackingConfiguration"],
            step_adjustments="",
            estimated_instance_warmup="",
            predictive_scaling_configuration="",
        )
        return cls(made.arn)


def _balancer(
    resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
) -> FakeLoadBalancer:
    asked = cloudformation_json["Properties"]
    backend = elbv2_backends[account_id][region_name]
    made = backend.create_load_balancer(
        resource_name,
        asked["SecurityGroups"],
        asked["Subnets"],
        scheme=asked["Scheme"],
        loadbalancer_type=asked["Type"],
    )
    made.attrs |= {a["Key"]: a["Value"] for a in asked["LoadBalancerAttributes"]}
    return made


def _balancers(self: FakeLoadBalancer, attribute: str) -> str:
    return {
        "DNSName": self.dns_name,
        "LoadBalancerFullName": self.arn.split("loadbalancer/")[1],
        "CanonicalHostedZoneID": self.canonical_hosted_zone_id,
    }[attribute]


def _groups(self: FakeTargetGroup, attribute: str) -> str:
    assert attribute == "TargetGroupFullName"
    full: str = self.arn.rsplit(":", 1)[1]
    return full


def fill_in(patch: Any) -> None:
    """Put all this into moto, as long as `patch` (a pytest.MonkeyPatch) lasts."""
    patch.setattr(FakeLoadBalancer, "create_from_cloudformation_json", staticmethod(_balancer))
    patch.setattr(FakeLoadBalancer, "get_cfn_attribute", _balancers)
    patch.setattr(FakeTargetGroup, "get_cfn_attribute", _groups, raising=False)
    parsing.get_model_list.cache_clear()
    parsing.get_model_map.cache_clear()
    parsing.get_name_type_map.cache_clear()
    known = parsing.get_model_map() | {model.KIND: model for model in Added.__subclasses__()}
    patch.setattr(parsing, "get_model_map", lambda: known)


def plain(value: Any, region: str, network: str) -> Any:
    """A template without the functions that moto does not know."""
    match value:
        case {"Fn::Cidr": [_, count, bits]}:
            parts = ipaddress.ip_network(network).subnets(new_prefix=32 - bits)
            return [str(next(parts)) for _ in range(count)]
        case {"Fn::GetAZs": ""}:
            return {"Fn::GetAZs": region}
        case Mapping():
            return {key: plain(one, region, network) for key, one in value.items()}
        case list():
            return [plain(one, region, network) for one in value]
    return value
