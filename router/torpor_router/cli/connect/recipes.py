"""The recipe of each build client: values in, text out.

What the clients do was measured with buildctl and buildx (docs/proof.md) and Bazel. EarthBuild's
options are those of its manual.
"""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote

from torpor_router.cli.connect.way import (
    SYSTEM_CA,
    YOUR_TOKEN,
    Recipe,
    Way,
    command,
    headers_of,
    option,
    whole_path,
)

PATIENCE = 360  # seconds: a minute more than a router holds a request unless told otherwise
WAITS = "A build has no deadline of its own: it waits for the wake and shows it as a step."
ISSUED = "Where the router issues no certificates (TPR-1152), the platform team does."
SYSTEM = f"{SYSTEM_CA} is where Debian and Ubuntu keep the CAs."


def _certified(way: Way, client: str, address: str, commands: str, *notes: str) -> Recipe:
    """The recipe of a client that shows a certificate, and trusts no CA that it is not given."""
    return Recipe(
        client,
        f"{way.org}/{way.name}",
        address,
        way.server_name,
        f"satellite certificate {way.name}{_out(way)}\n{commands}",
        (*notes, ISSUED) if way.ca else (*notes, ISSUED, SYSTEM),
        ca=way.ca or SYSTEM_CA,
        certificate=way.certificate,
        key=way.key,
    )


def _out(way: Way) -> str:
    return "" if way.prefix == "client" else f" {option('--out', way.prefix)}"


def buildctl(way: Way) -> Recipe:
    address = f"tcp://{way.target}"
    build = command(
        f"buildctl {option('--addr', address)}",
        option("--tlsservername", way.server_name),
        option("--tlscacert", way.ca or SYSTEM_CA),
        f"{option('--tlscert', way.certificate)} {option('--tlskey', way.key)}",
        "build --frontend dockerfile.v0 --local context=. --local dockerfile=.",
    )
    return _certified(
        way,
        "buildctl",
        address,
        build,
        WAITS,
        "--timeout (5 s) is for --wait alone, which wakes nothing.",
    )


def buildx(way: Way) -> Recipe:
    address = f"tcp://{way.target}"
    files = (("cacert", way.ca or SYSTEM_CA), ("cert", way.certificate), ("key", way.key))
    create = command(
        f"docker buildx create --name {way.name} --driver remote",
        f"--driver-opt servername={way.server_name}",
        *(f"--driver-opt {name}={whole_path(path)}" for name, path in files),
        quote(address),
    )
    return _certified(
        way,
        "buildx",
        address,
        f"{create}\ndocker buildx build --builder {way.name} .",
        WAITS,
        "buildx tries to connect for 20 s. The door answers at once, asleep or not.",
    )


def earthbuild(way: Way) -> Recipe:
    address = f"tcp://{way.server_name}:{way.address.port}"
    files = (("tlsca", way.ca or SYSTEM_CA), ("tlscert", way.certificate), ("tlskey", way.key))
    settings = [f"earth config global.{name} {whole_path(path)}" for name, path in files]
    return _certified(
        way,
        "earthbuild",
        address,
        "\n".join((*settings, f"earth {option('--buildkit-host', address)} +build")),
        "EarthBuild takes the TLS name from the address: that name must lead to the router.",
        "It waits for the wake as BuildKit's clients do; EarthBuild itself was not tried.",
    )


def bazel(way: Way) -> Recipe:
    address = f"{'grpcs' if way.tls else 'grpc'}://{way.target}"
    headers = headers_of(way)
    build = command(
        "bazel build",
        quote(f"--remote_executor={address}"),
        *([quote(f"--tls_certificate={way.ca}")] if way.tls and way.ca else []),
        f"--remote_header=satellite={headers['satellite']}",
        f'--remote_header="authorization={headers["authorization"]}"',
        f"--remote_timeout={PATIENCE}",
        "//...",
    )
    return _shown(
        way,
        "bazel",
        address,
        build,
        f"--remote_timeout counts the wake: Bazel's own 60 s may be too short, {PATIENCE} s is"
        " longer than a router holds a call.",
        "A worker that is a cache alone is --remote_cache instead of --remote_executor.",
    )


def grpcurl(way: Way) -> Recipe:
    headers = headers_of(way)
    encrypted = [option("-cacert", way.ca)] if way.ca else []
    call = command(
        "grpcurl",
        *(encrypted if way.tls else ["-plaintext"]),
        f"-H 'satellite: {headers['satellite']}'",
        f'-H "authorization: {headers["authorization"]}"',
        f"-max-time {PATIENCE}",
        f"{quote(way.target)} list",
    )
    return _shown(
        way,
        "grpcurl",
        way.target,
        call,
        "-max-time counts the wake. -connect-timeout (10 s) does not: connecting needs none.",
        "-H, not -rpc-header: what lists the services must name the satellite, too.",
    )


def _shown(way: Way, client: str, address: str, commands: str, *notes: str) -> Recipe:
    """The recipe of a client that sends the token, and believes the system's CAs by itself."""
    return Recipe(
        client,
        f"{way.org}/{way.name}",
        address,
        way.address.host if way.tls else "",
        commands,
        (YOUR_TOKEN, *notes),
        headers=headers_of(way),
        ca=way.ca if way.tls else "",
    )


BY_CERTIFICATE: dict[str, Callable[[Way], Recipe]] = {
    "buildctl": buildctl,
    "buildx": buildx,
    "earthbuild": earthbuild,
}
BY_TOKEN: dict[str, Callable[[Way], Recipe]] = {"bazel": bazel, "grpcurl": grpcurl}
CLIENTS = {**BY_CERTIFICATE, **BY_TOKEN}
