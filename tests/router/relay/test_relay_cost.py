"""What a call costs the relay's core may not grow: a gate that holds on any machine at any load.

The bytecodes that a call takes are the same everywhere (but for Python's version), so their bounds
are a tenth above what is measured (`python -m corebench` tells it). CPU time is a multiple of what
a loop of the same run takes; its bound is loose, for what bytecodes do not show: work in C.
"""

from __future__ import annotations

import sys

import pytest
from corebench.cost import bytecodes, core, cpu

# bytecodes, and CPU in rounds of the loop: of a call, 25 in one read
SAME = (850, 25)
DIFFER = {
    "h2load": (2_400, 65),
    "bazel": (3_850, 90),
    "buildkit": (3_200, 80),
    "grpc-go": (3_500, 85),
    "grpcio": (3_350, 110),
}
CASES = [pytest.param("h2load", False, *SAME, id="same")]
CASES += [pytest.param(kind, True, *bounds, id=kind) for kind, bounds in DIFFER.items()]


@pytest.mark.skipif(sys.gettrace() is not None, reason="something else traces")
@pytest.mark.parametrize(("kind", "differ", "most", "_"), CASES)
def test_bytecodes_of_a_call(kind, differ, most, _):
    run = core(kind, differ=differ, calls=100, together=25)()
    assert bytecodes(run) / 100 < most


@pytest.mark.parametrize(("kind", "differ", "_", "most"), CASES)
def test_cpu_of_a_call(kind, differ, _, most):
    prepare = core(kind, differ=differ, calls=500, together=25)
    assert cpu(prepare, 500, rounds=5) < most
