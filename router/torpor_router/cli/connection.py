"""Which router a command talks to, as whom, and how it knows that it is the right one."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from torpor_provisioner.contract import Address
from torpor_provisioner.errors import TorporError
from torpor_router.cli.client_errors import BadFile, NoToken
from torpor_router.cli.contexts import file as contexts_file
from torpor_router.cli.contexts.book import Context
from torpor_router.cli.contexts.choice import Choice
from torpor_router.names import DEFAULT_DOOR_PORT, EVERY_ADDRESS, read_address, stays_here

DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_DOOR_PORT}"
_SECTION = "Connection"
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM. Without a `ca`, the authorities that gRPC ships with are believed.

    `ca_file` is where `ca` was read from; empty without one.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    ca_file: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Target:
    """A router, and the token to show it. Without `tls` it is spoken to in plaintext."""

    address: Address
    token: str = field(repr=False)
    tls: ClientTls | None = None
    org: str = ""  # the one that is meant, where the token is of more than one
    choice: Choice = field(default_factory=Choice, repr=False, compare=False)


class ConnectionOption(click.Option):
    """Shown in a section of its own in ``--help``."""


class Command(click.Command):
    """A command whose options for reaching the router stand apart from its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        connection: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            if (
                isinstance(param, click.Option)
                and (record := param.get_help_record(ctx)) is not None
            ):
                (connection if isinstance(param, ConnectionOption) else own).append(record)
        for title, records in (("Options", own), (_SECTION, connection)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def with_target(command: _Command) -> _Command:
    """Give a click command the options to reach a router, and the argument `target`."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, given: dict[str, Any], **options: Any) -> Any:
        return command(*arguments, target=target_of(click.get_current_context(), given), **options)

    return with_given(wrapped)  # type: ignore[return-value]  # click replaces the signature anyway


def with_given(command: _Command, *, org: bool = True) -> _Command:
    """Give a click command the same options, and what was given by them as the argument `given`.

    Without `org`, there is no `--org`.
    """
    options = [each for each in _OPTIONS if org or each is not _ORG]

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _NAMES if org or name != "org"}
        return command(*arguments, given={"org": "", **given}, **options)

    for declare in reversed(options):
        declare(wrapped)
    return wrapped  # type: ignore[return-value]  # click replaces the signature anyway


def _option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(*names, cls=ConnectionOption, **attributes)


def complete_context(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """The user's contexts that begin so, for a shell; nothing where they cannot be read."""
    try:
        names = contexts_file.read().by_name
    except TorporError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(begun)]


_FILE = click.Path(path_type=Path, dir_okay=False)
_ORG = _option(
    "--org",
    envvar="TORPOR_ORG",
    default="",
    help="The org that is meant; operators need it. [TORPOR_ORG]",
)
_OPTIONS = (
    _option(
        "--context",
        envvar="TORPOR_CONTEXT",
        metavar="NAME",
        shell_complete=complete_context,
        help="The context to use, instead of the selected one. [TORPOR_CONTEXT]",
    ),
    _option(
        "--address",
        envvar="TORPOR_ADDRESS",
        help="The router's HOST:PORT. Default: the context's,"
        f" or {DEFAULT_ADDRESS}. [TORPOR_ADDRESS]",
    ),
    _option(
        "--token",
        envvar="TORPOR_TOKEN",
        help="Your token; other users of this machine can read it in the list of"
        " processes, so rather set TORPOR_TOKEN or give a file. [TORPOR_TOKEN]",
    ),
    _option(
        "--token-file",
        envvar="TORPOR_TOKEN_FILE",
        type=_FILE,
        help="A file that holds the token. [TORPOR_TOKEN_FILE]",
    ),
    _ORG,
    _option(
        "--ca",
        envvar="TORPOR_CA",
        type=_FILE,
        help="The CA of the router's certificate. [TORPOR_CA]",
    ),
    _option(
        "--client-cert", envvar="TORPOR_CLIENT_CERT", type=_FILE, help="A certificate to show."
    ),
    _option("--client-key", envvar="TORPOR_CLIENT_KEY", type=_FILE, help="Its private key."),
    _option(
        "--plaintext/--tls",
        default=None,
        help="Without TLS, or with it whatever the address is."
        " Default: TLS, except to this machine itself.",
    ),
)
_NAMES = (
    *("context", "address", "token", "token_file", "org", "ca"),
    *("client_cert", "client_key", "plaintext"),
)


def target_of(context: click.Context, given: dict[str, Any], *, token: bool = True) -> Target:
    """The router that is meant: by options, else by the environment, else by a context.

    Without `token`, it is left out where there is none. What is given of another router than the
    context's takes nothing from the context.

    Raises:
        NoToken, BadFile, click.UsageError: and all of `contexts.errors`.
    """
    given = _by_rank(context, given)
    choice = Choice(given["context"] or "", given["address"])
    whole = given["address"] is not None and (given["token"] or given["token_file"])
    kept = None if whole and not given["context"] else choice.context
    if kept is not None:
        given = completed(given, kept)
    address = parse_address(DEFAULT_ADDRESS if given["address"] is None else given["address"])
    found = read_token(context, given) if token or given["token"] or given["token_file"] else ""
    return Target(address, found, tls_of(address, given), given["org"], choice)


def _by_rank(context: click.Context, given: dict[str, Any]) -> dict[str, Any]:
    """A context that is named on the command line goes before the environment as a whole."""
    if context.get_parameter_source("context") is not ParameterSource.COMMANDLINE:
        return given
    return {
        name: value
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        else ("" if name == "org" else None)
        for name, value in given.items()
    }


def completed(given: dict[str, Any], kept: Context) -> dict[str, Any]:
    """What is given, and for the rest what the context keeps."""
    whole = given | {"org": given["org"] or kept.org}
    if given["address"] is None:
        whole["address"] = kept.address
    if not (given["token"] or given["token_file"]):
        whole["token"] = kept.token
    if given["plaintext"]:
        return whole
    if not (given["client_cert"] or given["client_key"]) and kept.client_cert:
        whole |= {"client_cert": Path(kept.client_cert), "client_key": Path(kept.client_key)}
    if not given["ca"] and kept.ca:
        whole["ca"] = Path(kept.ca)
    if given["plaintext"] is None and kept.tls is not None:
        whole["plaintext"] = not (kept.tls or whole["ca"] or whole["client_cert"])
    return whole


def parse_address(text: str) -> Address:
    """Read an address that can be connected to.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        address = read_address(text.strip(), DEFAULT_DOOR_PORT)
    except ValueError:
        address = Address("", 0)
    if address.host in ("", EVERY_ADDRESS) or "/" in address.host or not address.port:
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="'--address'")
    return address


def read_token(context: click.Context, given: dict[str, Any]) -> str:
    """The token that is given, or that stands in the file that is given.

    Raises:
        NoToken, BadFile, click.UsageError
    """
    token = given["token"] or ""
    if _by_file(context, given):
        token = _read(given["token_file"]).decode(errors="replace")
    token = token.strip()
    if not token:
        raise NoToken
    if not re.fullmatch(r"[!-~]+", token):
        raise BadFile("the token is not one word of plain ASCII")
    return str(token)


def _by_file(context: click.Context, given: dict[str, Any]) -> bool:
    """What was written on the command line goes before what stands in the environment."""
    written = {
        name
        for name in ("token", "token_file")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if len(written) == 2:
        raise click.UsageError("--token and --token-file exclude each other")
    if written:
        return "token_file" in written
    return given["token_file"] is not None and not given["token"]


def tls_of(address: Address, given: dict[str, Any]) -> ClientTls | None:
    """With what TLS is spoken to the address, if with any.

    Raises:
        BadFile, click.UsageError
    """
    certificate, key = given["client_cert"], given["client_key"]
    if (certificate is None) != (key is None):
        raise click.UsageError("--client-cert and --client-key are given together or not at all")
    if given["plaintext"] and (given["ca"] or certificate):
        raise click.UsageError("--plaintext leaves no use for --ca and --client-cert")
    wanted = given["ca"] or certificate or given["plaintext"] is False
    if given["plaintext"] or (stays_here(address.host) and not wanted):
        return None
    tls = ClientTls(
        _read(given["ca"]), _read(certificate), _read(key), ca_file=str(given["ca"] or "")
    )
    _check_pem(given["ca"], certificate, key)
    return tls


def _check_pem(ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """What gRPC is given and cannot use, it tells of as a router that does not answer.

    Raises:
        BadFile: a file holds something else.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise BadFile(f"{ca}: there is no certificate (PEM) in it") from error
    if certificate is not None and key is not None:
        try:
            context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise BadFile(
                f"{certificate}, {key}: they are not a certificate and its key (PEM, no password)"
            ) from error


@overload
def _read(path: Path) -> bytes: ...
@overload
def _read(path: None) -> None: ...
def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from error
