"""The client of torpor.v1 behind the `satellite` command."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from math import inf
from typing import Any, NoReturn, Self, TypeVar
from uuid import uuid4

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own remarks would stand among ours

import grpc

from torpor_provisioner.contract import Arch
from torpor_provisioner.errors import Status
from torpor_router.cli.client_errors import HandshakeFailed, NotARouter, RouterUnreachable
from torpor_router.cli.connection import Target
from torpor_router.cli.failures import Failed, Failure
from torpor_router.cli.tls_trouble import tls_trouble
from torpor_router.control.messages import (
    ARCHS,
    SLEEP_MODES,
    STATES,
    CallerView,
    ProgressView,
    SatelliteView,
    TransitionView,
    duration_message,
)
from torpor_router.control.v1 import access_pb2 as access_pb
from torpor_router.control.v1 import access_pb2_grpc as access_rpc
from torpor_router.control.v1 import torpor_pb2 as pb
from torpor_router.control.v1 import torpor_pb2_grpc as rpc
from torpor_router.control.v1 import usage_pb2 as usage_pb
from torpor_router.control.v1 import usage_pb2_grpc as usage_rpc
from torpor_router.errors import Draining
from torpor_router.names import stays_here, written_address
from torpor_statemachine.lifecycle.states import SleepMode, State

ANSWER_WITHIN = 30.0  # seconds; no call that answers once takes its time
RESUME_WITHIN = 60.0  # seconds in which a stream whose router went away finds another
_RESUME_EVERY = 1.0  # seconds
_PAGE = 1_000  # satellites
_LARGEST_ANSWER = 64 * 1024 * 1024  # octets; a list of some 100,000 satellites
_REPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_Reply = TypeVar("_Reply")


class Client:
    """One router, spoken to synchronously. Every method raises `Failed` or a `TorporError`.

    A `channel` may lead elsewhere than to the target.

    The streams (`wake`, `sleep`, `follow`) go on at another router when theirs goes away.
    """

    def __init__(
        self,
        target: Target,
        *,
        within: float = ANSWER_WITHIN,
        channel: grpc.Channel | None = None,
    ) -> None:
        self._target = target
        self._within = within  # seconds, for a call that answers once
        self._where = written_address(target.address)
        self._metadata = (
            ("authorization", f"Bearer {target.token}"),
            *([("satellite_org", target.org)] if target.org else ()),
        )
        self._channel = channel or _channel(target)
        self._stub = rpc.SatellitesStub(self._channel)
        self._access = access_rpc.AccessStub(self._channel)
        self._usage = usage_rpc.UsageStub(self._channel)

    def __repr__(self) -> str:
        return f"<Client {self._where}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def launch(
        self,
        name: str,
        *,
        provisioner: str = "",
        arch: Arch = Arch.X86_64,
        size: str = "",
        sleep_mode: SleepMode = SleepMode.AUTO,
        sleep_after: timedelta | None = None,
        settings: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> SatelliteView:
        """Sent again, should its answer get lost: it makes one satellite."""
        request = pb.LaunchRequest(
            labels=labels,
            request_id=str(uuid4()),
            name=name,
            provisioner=provisioner,
            arch=ARCHS.number(arch),
            size=size,
            sleep_mode=SLEEP_MODES.number(sleep_mode),
            sleep_after=duration_message(sleep_after),
            settings=settings,
        )
        return SatelliteView.of(self._ask_again(self._stub.Launch, request).satellite)

    def whoami(self) -> CallerView:
        return CallerView.of(self._ask(self._access.WhoAmI, access_pb.WhoAmIRequest()))

    def certificate(
        self, request: bytes, satellite: str, lives: timedelta | None
    ) -> access_pb.IssueCertificateReply:
        """A client certificate for the key in `request` (PKCS #10)."""
        message = access_pb.IssueCertificateRequest(
            request=request, name=satellite, lifetime=duration_message(lives)
        )
        return self._ask(self._access.IssueCertificate, message)

    def usage(self, first: str, last: str, by: str) -> usage_pb.ReportReply:
        message = usage_pb.ReportRequest(first_day=first, last_day=last, by=by)
        return self._ask(self._usage.Report, message)

    def satellites(
        self, *, states: Iterable[State] = (), labels: Mapping[str, str] | None = None
    ) -> list[SatelliteView]:
        """Those in one of the states and with all of the labels."""
        request = pb.ListRequest(states=map(STATES.number, states), labels=labels, page_size=_PAGE)
        found: list[SatelliteView] = []
        while True:
            reply = self._ask(self._stub.List, request)
            found += map(SatelliteView.of, reply.satellites)
            if not reply.next_page_token:
                return found
            request.page_token = reply.next_page_token

    def explain(self, name: str) -> tuple[str, SatelliteView]:
        """Why it is awake or asleep, and the satellite."""
        reply = self._ask(self._stub.Explain, pb.ExplainRequest(name=name))
        return reply.summary, SatelliteView.of(reply.satellite)

    def get(self, name: str) -> SatelliteView:
        return SatelliteView.of(self._ask(self._stub.Get, pb.GetRequest(name=name)).satellite)

    def update(
        self,
        name: str,
        *,
        size: str | None = None,
        sleep_mode: SleepMode | None = None,
        sleep_after: timedelta | None = None,
        settings: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        schedule: str | None = None,
    ) -> SatelliteView:
        request = pb.UpdateRequest(
            schedule=schedule,
            labels=labels,
            name=name,
            size=size,
            sleep_mode=SLEEP_MODES.number(sleep_mode),
            sleep_after=duration_message(sleep_after),
            settings=settings,
        )
        return SatelliteView.of(self._ask(self._stub.Update, request).satellite)

    def repair(self, name: str) -> SatelliteView:
        reply = self._ask(self._stub.Repair, pb.RepairRequest(name=name))
        return SatelliteView.of(reply.satellite)

    def terminate(self, name: str, *, force: bool = False) -> SatelliteView:
        reply = self._ask(self._stub.Terminate, pb.TerminateRequest(name=name, force=force))
        return SatelliteView.of(reply.satellite)

    def transitions(self, name: str, limit: int = 0) -> list[TransitionView]:
        """Newest first."""
        request = pb.TransitionsRequest(name=name, limit=limit)
        reply = self._ask(self._stub.Transitions, request)
        return [TransitionView.of(each) for each in reply.transitions]

    def wake(self, name: str) -> Iterator[ProgressView]:
        request = pb.WakeRequest(name=name)
        return self._watch(lambda: self._stub.Wake(request, metadata=self._metadata))

    def sleep(self, name: str, *, force: bool = False) -> Iterator[ProgressView]:
        request = pb.SleepRequest(name=name, force=force)
        return self._watch(lambda: self._stub.Sleep(request, metadata=self._metadata))

    def follow(self, name: str) -> Iterator[ProgressView]:
        request = pb.FollowRequest(name=name)
        return self._watch(lambda: self._stub.Follow(request, metadata=self._metadata))

    def knock(self, full_name: str) -> None:
        """Make a call to a satellite's worker: a report of no traces, which wakes nothing.

        Raises:
            Failed: with the router's code, or with the worker's status and none.
        """
        call: Any = self._channel.unary_unary(_REPORT)
        try:
            call(b"", timeout=self._within, metadata=(*self._metadata, ("satellite", full_name)))
        except grpc.RpcError as error:
            raise Failed(_failure(error)) from error

    def _ask(self, method: Callable[..., _Reply], request: Any) -> _Reply:
        try:
            return method(request, timeout=self._within, metadata=self._metadata)
        except grpc.RpcError as error:
            self._fail(error)

    def _ask_again(self, method: Callable[..., _Reply], request: Any) -> _Reply:
        """For what may be repeated: its router may have gone away before it answered."""
        try:
            return method(request, timeout=ANSWER_WITHIN, metadata=self._metadata)
        except grpc.RpcError as error:
            if not _router_went(error):
                self._fail(error)
            time.sleep(_RESUME_EVERY)
            return self._ask(method, request)

    def _watch(self, start: Callable[[], Any]) -> Iterator[ProgressView]:
        heard = -inf  # when a router last said anything of use
        began = time.monotonic()
        while True:
            call = start()
            try:
                for message in call:
                    heard = time.monotonic()
                    yield ProgressView.of(message)
            except grpc.RpcError as error:
                since = began if _drains(error) else heard
                if not _router_went(error) or time.monotonic() - since > RESUME_WITHIN:
                    self._fail(error)
                time.sleep(_RESUME_EVERY)
            else:
                return
            finally:
                call.cancel()

    def _fail(self, error: Any) -> NoReturn:
        failure = _failure(error)
        if failure.code:
            raise Failed(failure) from error
        status, text = failure.status, str(error.details() or "")
        why = f"{self._where}: {_innermost(text)}"
        if status is Status.UNAVAILABLE and (trouble := tls_trouble(self._target)) is not None:
            raise HandshakeFailed(f"{self._where}: {trouble}") from error
        if status is Status.UNAVAILABLE and ("handshake" in text or "certificate" in text):
            raise HandshakeFailed(why) from error
        if status in (Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED):
            raise RouterUnreachable(why) from error
        if status is Status.UNIMPLEMENTED:
            raise NotARouter(why) from error
        raise Failed(failure) from error


def _failure(error: Any) -> Failure:
    trailers = {key: str(value) for key, value in error.trailing_metadata() or ()}
    return Failure.read(Status(error.code().value[0]), str(error.details() or ""), trailers)


def _router_went(error: Any) -> bool:
    """Whether it was the router that went away, and not the call that failed."""
    failure = _failure(error)
    return failure.status is Status.UNAVAILABLE and failure.code in ("", Draining.code)


def _drains(error: Any) -> bool:
    return _failure(error).code == Draining.code


def _innermost(message: str) -> str:
    """What gRPC says last of a connection that failed is what happened to it."""
    return message.rpartition("last error: ")[2].rpartition("remote host: ")[2]


def _channel(target: Target) -> grpc.Channel:
    options = (
        ("grpc.max_receive_message_length", _LARGEST_ANSWER),
        ("grpc.primary_user_agent", "satellite"),
        ("grpc.enable_http_proxy", 0 if stays_here(target.address.host) else 1),
        # A stream brings a message every few seconds; a peer that answers no PING either is gone.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    )
    where = written_address(target.address)
    if target.tls is None:
        return grpc.insecure_channel(where, options)
    tls = target.tls
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    return grpc.secure_channel(where, credentials, options)
