"""Compiles the relay's inner modules to machine code where a wheel is built with TORPOR_COMPILED=1.

The source is one: mypyc takes the modules as they are, by the types that mypy has checked. A wheel
without it is plain Python for any machine; one with it is for one version of Python on one kind of
machine, and has the modules' source beside what was made of it.

What is compiled is what handles frames (`MODULES`). What meets sockets, tasks and the database is
not: it waits more than it works.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parents[2]
_ROUTER = ROOT / "router" / "torpor_router"
_RELAY = """
    abuse answers binding client_leg deadline early exchange held holding leg looks methods
    node_calls node_leg pacing reading request_cache retiring rewrite stream_ends streams trailers
    watched windows worker_leg
"""
MODULES = sorted(path for path in (_ROUTER / "h2").glob("*.py") if path.stem != "__init__")
MODULES += [_ROUTER / "relay" / f"{name}.py" for name in _RELAY.split()]


class CompiledHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get("TORPOR_COMPILED", "") in ("", "0"):
            return
        made = Path(tempfile.mkdtemp(prefix="torpor-compiled-"))
        build_data["force_include"].update(compiled(made))
        build_data["infer_tag"] = True
        build_data["pure_python"] = False


def compiled(folder: Path) -> dict[str, str]:
    """Compile into `folder`; each file made, and where it stands in an installation."""
    from mypyc.build import mypycify  # neither is needed for a wheel of plain Python
    from setuptools import Distribution

    out = folder / "out"
    with chdir(ROOT):
        options = ["--config-file=", "--ignore-missing-imports", "--explicit-package-bases"]
        os.environ["MYPYPATH"] = "router:statemachine:provisioner"
        modules = mypycify(
            [*options, *(str(path.relative_to(ROOT)) for path in MODULES)],
            opt_level=os.environ.get("TORPOR_OPTIMIZE", "3"),
            debug_level="0",
            target_dir=str(folder / "c"),
        )
        build = Distribution({"name": "torpor", "ext_modules": modules}).get_command_obj(
            "build_ext"
        )
        build.build_lib, build.build_temp = str(out), str(folder / "objects")
        build.ensure_finalized()
        build.run()
    return {str(path): str(path.relative_to(out)) for path in out.rglob("*.so")}
