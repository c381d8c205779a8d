"""What a call is for, and which build it is part of."""

from __future__ import annotations

from base64 import b64encode

import pytest

from torpor_router.dialects.messages.bazel_pb2 import RequestMetadata
from torpor_router.dialects.purpose import Purpose
from torpor_router.dialects.requests import build_of, purpose_of
from torpor_router.h2.fields import Field

BAZEL = "build.bazel.remote.execution.v2.requestmetadata-bin"
INVOCATION = RequestMetadata(tool_invocation_id="an-invocation").SerializeToString()


def fields(**metadata):
    return [Field(name.encode(), value, b"") for name, value in metadata.items()]


@pytest.mark.parametrize(
    ("path", "purpose"),
    [
        ("/moby.buildkit.v1.Control/Solve", Purpose.OPENS),
        ("/moby.buildkit.v1.Control/Session", Purpose.OPENS),
        ("/moby.buildkit.v1.frontend.LLBBridge/Ping", Purpose.LOOKS),
        ("/moby.buildkit.v1.frontend.LLBBridge/Solve", Purpose.WORK),
        ("/moby.buildkit.v1.frontend.LLBBridge/Return", Purpose.RETURNS),
        ("/moby.buildkit.v1.Control/Status", Purpose.PROGRESS),
        ("/moby.buildkit.v1.Control/ListWorkers", Purpose.LOOKS),
        ("/moby.buildkit.v1.Control/Info", Purpose.LOOKS),
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Purpose.TELLS),
        ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Purpose.TELLS),
        ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Purpose.TELLS),
        ("/google.devtools.build.v1.PublishBuildEvent/PublishLifecycleEvent", Purpose.TELLS),
        (
            "/google.devtools.build.v1.PublishBuildEvent/PublishBuildToolEventStream",
            Purpose.REPORTS,
        ),
        ("/build.bazel.remote.execution.v2.Execution/Execute", Purpose.WORK),
        ("/a.B/C", Purpose.WORK),
        ("", Purpose.WORK),
    ],
)
def test_what_a_call_is_for(path, purpose):
    assert purpose_of(path.encode()) is purpose


@pytest.mark.parametrize(
    ("metadata", "build"),
    [
        ({"buildkit-controlapi-buildid": b"k4x9"}, "k4x9"),
        ({BAZEL: b64encode(INVOCATION)}, "an-invocation"),
        ({BAZEL: b64encode(INVOCATION).rstrip(b"=")}, "an-invocation"),
        ({BAZEL: INVOCATION}, "an-invocation"),
        ({"user-agent": b"buildkit"}, None),
        ({"buildkit-controlapi-buildid": b""}, None),
        ({"buildkit-controlapi-buildid": b"\xff" * 9_000}, "\ufffd" * 200),
        ({BAZEL: b"\xff\xff\xff"}, None),
        ({BAZEL: b""}, None),
    ],
)
def test_which_build_a_request_is_part_of(metadata, build):
    assert build_of(fields(**metadata)) == build
