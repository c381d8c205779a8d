"""The workers' programs: where they are had, and the sums they must have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tool:
    """A release for both architectures; `sums` are SHA-256, x86_64 first, then arm64."""

    name: str
    version: str
    base: str
    names: tuple[str, str]
    sums: tuple[str, str]

    @property
    def urls(self) -> tuple[str, str]:
        return (f"{self.base}/{self.names[0]}", f"{self.base}/{self.names[1]}")

    def fetch(self, file: str) -> str:
        """The shell command that has it in `file`."""
        pairs = zip(self.sums, self.urls, strict=True)
        words = [word for pair in pairs for word in pair]
        return " \\\n    ".join([f"/usr/libexec/torpor/fetch {file}", *words])


BUILDKIT = Tool(
    name="buildkit",
    version="0.33.1",
    base="https://github.com/moby/buildkit/releases/download/v0.33.1",
    names=("buildkit-v0.33.1.linux-amd64.tar.gz", "buildkit-v0.33.1.linux-arm64.tar.gz"),
    sums=(
        "4e044bcd62a0c0bbe6a8c94d73989de2bfe4c04dbc0f9d6021cf96b72cd1d965",
        "4e1ba91f139761f249a1fa6c71e632dfdbdafeda416176ecadefbb95225e56c4",
    ),
)
BAZEL_REMOTE = Tool(
    name="bazel-remote",
    version="2.5.0",
    base="https://github.com/buchgr/bazel-remote/releases/download/v2.5.0",
    names=("bazel-remote-2.5.0-linux-x86_64", "bazel-remote-2.5.0-linux-arm64"),
    sums=(
        "0e3ccc67bced00bc783ee395160092c107a4699e06586a68dcd53fcfa7d8063e",
        "a08cae80a214ae64a878a2c14bdd3f646bbe7a1108b77f65b0dcd2ace0d24739",
    ),
)
