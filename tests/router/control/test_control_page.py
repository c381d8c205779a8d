"""The calls of docs/control-api.md exist and can be read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from google.protobuf import json_format, symbol_database

from torpor_router.control.v1 import torpor_pb2 as pb

PAGE = (Path(__file__).parents[3] / "docs/control-api.md").read_text(encoding="utf-8")


def test_the_calls_of_the_page_can_be_made() -> None:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    calls = "".join(blocks).replace("\\\n", " ").splitlines()
    assert len(calls) == 2
    for line in calls:
        words = shlex.split(line.removeprefix("$ "))
        assert words[0] == "grpcurl"
        service, method = words[-1].split("/")
        found = pb.DESCRIPTOR.services_by_name[service.removeprefix("torpor.v1.")]
        request = found.methods_by_name[method].input_type
        data = words[words.index("-d") + 1] if "-d" in words else "{}"
        made = symbol_database.Default().GetSymbol(request.full_name)()
        json_format.Parse(data, made)
