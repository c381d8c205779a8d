"""What the router refuses, and what can go wrong on the way (families 1xxx, 3xxx, 4xxx, 5xxx)."""

from __future__ import annotations

from typing import ClassVar

from torpor_provisioner.errors import Status, TorporError


class RouterError(TorporError):
    """What the door itself tells a client."""


# 1xxx: the caller, and where the request wants to go


class NoSatelliteNamed(RouterError):
    code = "TPR-1001"
    status = Status.INVALID_ARGUMENT
    cause = "The request does not say which satellite it is for"
    remedy = "Send the metadata 'satellite: ORG/NAME', or use the host name NAME--ORG.DOMAIN"


class NoSatelliteInName(NoSatelliteNamed):
    """Told to clients that send no metadata of their user's."""

    remedy = (
        "Use the host name NAME--ORG.DOMAIN (buildctl --tlsservername, buildx servername=),"
        " or its certificate"
    )


class BadSatelliteName(RouterError):
    code = "TPR-1002"
    status = Status.INVALID_ARGUMENT
    cause = "The satellite's name cannot be read, or names contradict each other"
    remedy = (
        "Write it as ORG/NAME in lower case; host name, metadata and certificate must say the same"
    )


class NoCredentials(RouterError):
    code = "TPR-1003"
    status = Status.UNAUTHENTICATED
    cause = "The request carries no credentials"
    remedy = "Send the metadata 'authorization: Bearer TOKEN', or use a client certificate"


class NoCertificate(NoCredentials):
    """Told to clients that cannot send a token."""

    remedy = (
        "Use TLS and a client certificate: buildctl --tlscert and --tlskey, buildx --driver-opt"
        " cert=,key="
    )


class NoHeader(NoCredentials):
    """Told to Bazel."""

    remedy = (
        "Give Bazel --remote_header='authorization=Bearer TOKEN' (or --bes_header),"
        " or --tls_client_certificate"
    )


class ConnectionTaken(RouterError):
    code = "TPR-1004"
    status = Status.FAILED_PRECONDITION
    cause = "This connection belongs to another caller or satellite"
    remedy = "Use one connection (one gRPC channel) for each satellite and token"


class NotHttp2(RouterError):
    code = "TPR-1005"
    status = Status.UNIMPLEMENTED
    cause = "This port speaks gRPC over HTTP/2 only"
    remedy = "Use a gRPC client; a proxy on the way must pass HTTP/2 through (layer 4)"


class MalformedRequest(RouterError):
    code = "TPR-1006"
    status = Status.INVALID_ARGUMENT
    cause = "The request's header fields break the rules of HTTP/2 or gRPC"
    remedy = "Correct the client"


class NotGrpc(RouterError):
    """Told as an HTTP response: its reader knows nothing of `grpc-status`."""

    http_status: ClassVar[bytes] = b"415"
    http_fields: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()

    code = "TPR-1007"
    status = Status.UNIMPLEMENTED
    cause = "This port speaks gRPC, and the request's content type is another"
    remedy = "Use a gRPC client; 'content-type' must begin with application/grpc"


class GrpcWeb(NotGrpc):
    """Told so that a page of any origin may read it (CORS, https://fetch.spec.whatwg.org)."""

    code = "TPR-1009"
    status = Status.UNIMPLEMENTED
    cause = "This port does not speak gRPC-Web"
    remedy = "Use a gRPC client, or a proxy that translates gRPC-Web (Envoy's grpc_web filter)"
    http_fields: ClassVar[tuple[tuple[bytes, bytes], ...]] = (
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", b"x-torpor-code"),
    )


class Preflight(GrpcWeb):
    """A browser asks whether it may send the call itself. It may, and reads the answer to that."""

    http_status = b"200"
    http_fields: ClassVar[tuple[tuple[bytes, bytes], ...]] = (
        *GrpcWeb.http_fields,
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"*, authorization"),
    )


class LastAnswerGone(RouterError):
    code = "TPR-1010"
    status = Status.UNAVAILABLE
    cause = "The worker's last answer was just dropped, since its satellite was changed"
    remedy = "Retry: the satellite is woken to answer itself"


class GivenUp(RouterError):
    code = "TPR-1011"
    status = Status.CANCELLED
    cause = "The build was given up by its client while it waited for its satellite"
    remedy = "Nothing to do: a wake that has begun goes on, and the next build finds it awake"


class NotTls(RouterError):
    """Told in plaintext, as an HTTP/1 response."""

    code = "TPR-1008"
    status = Status.UNIMPLEMENTED
    cause = "This port speaks TLS, and the client speaks plaintext"
    remedy = "Use https:// or grpcs://, or leave out the client's --plaintext or --insecure"


class CertificateNotBelieved(RouterError):
    """Told in place of the TLS alert, to a client that has had that a moment ago."""

    code = "TPR-1126"
    status = Status.UNAUTHENTICATED
    cause = "The router does not believe the client certificate"
    remedy = (
        "Use one for clients, of the CA that the router believes: 'satellite certificate' gets"
        " one, or the platform team gives it"
    )


# 3xxx: limits


class SatelliteHoldsFull(RouterError):
    code = "TPR-3001"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many requests wait for this satellite already"
    remedy = "Retry when the satellite is awake, or ask the platform team to raise the limit"


class NodeHoldsFull(RouterError):
    code = "TPR-3002"
    status = Status.UNAVAILABLE
    cause = "Too many requests wait on this router already"
    remedy = "Retry in a few seconds; the platform team can add routers or raise the limit"


class TooManyConnections(RouterError):
    code = "TPR-3003"
    status = Status.RESOURCE_EXHAUSTED
    cause = "This caller has too many connections open"
    remedy = "Close some, share one gRPC channel between tasks, or ask for a higher limit"


class TooManyStreams(RouterError):
    code = "TPR-3004"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many calls are open on a connection that has shown no credentials"
    remedy = "Send a token with a call, or use more connections for health checks"


class HeadersTooLarge(RouterError):
    code = "TPR-3005"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The request's metadata is too large"
    remedy = "Send less metadata, or ask the platform team to raise the limit"


class HeldTooMuch(RouterError):
    code = "TPR-3006"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The requests that wait on this connection are too large together"
    remedy = "Spread them over more connections, or retry when the satellite is awake"


class DeadlineWhileHeld(RouterError):
    code = "TPR-3007"
    status = Status.DEADLINE_EXCEEDED
    cause = "The request's own deadline passed while it waited for its satellite"
    remedy = "Give the first request after a sleep a longer deadline; a wake that has begun goes on"


class SlowStart(RouterError):
    code = "TPR-3008"
    status = Status.UNAVAILABLE
    cause = "The connection was not set up in time"
    remedy = "Reconnect; a client must send its HTTP/2 preface and requests without long pauses"


class IdleConnection(RouterError):
    code = "TPR-3009"
    status = Status.UNAVAILABLE
    cause = "The connection had no stream for too long"
    remedy = "Nothing to do: clients reconnect by themselves"


class Abuse(RouterError):
    code = "TPR-3010"
    status = Status.RESOURCE_EXHAUSTED
    cause = "The connection sent far more control frames than any client needs"
    remedy = "Correct the client; the limits stand in the router's settings"


class StalledPeer(RouterError):
    code = "TPR-3011"
    status = Status.UNAVAILABLE
    cause = "The client took nothing of what was sent to it"
    remedy = "Reconnect; look for a client that is stopped or a network that drops packets"


class OrgHoldsFull(RouterError):
    code = "TPR-3012"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many of the org's requests wait on this router already"
    remedy = "Retry when its satellites are awake; the rest is kept free for other orgs"


class TooManyStrangers(RouterError):
    code = "TPR-3016"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many connections from this address have shown no credentials"
    remedy = "Show a token or a certificate at once, and close connections that are not needed"


class GaveWay(RouterError):
    code = "TPR-3017"
    status = Status.UNAVAILABLE
    cause = "The connection had shown no credentials, and gave way to newer ones"
    remedy = "Reconnect, and send a request with a token at once"


# 4xxx: the connection to the satellite


class WorkerUnreachable(RouterError):
    code = "TPR-4001"
    status = Status.UNAVAILABLE
    cause = "The satellite is awake but its worker cannot be reached"
    remedy = "Retry; if it stays so, run 'satellite inspect NAME' and look at the worker's log"


class WorkerLost(RouterError):
    code = "TPR-4002"
    status = Status.UNAVAILABLE
    cause = "The connection to the satellite's worker was lost while the request was running"
    remedy = "Retry if the request can be repeated; look at the worker's log for why it stopped"


class WorkerProtocol(RouterError):
    code = "TPR-4003"
    status = Status.UNAVAILABLE
    cause = "The satellite's worker broke the rules of HTTP/2"
    remedy = "Check that the worker speaks gRPC on the port it was configured with"


class WorkerNotGrpc(RouterError):
    code = "TPR-4004"
    status = Status.UNAVAILABLE
    cause = "The satellite's worker answered a call in other words than gRPC's"
    remedy = "Check that the worker speaks gRPC on the port it was configured with"


class WorkerCompresses(RouterError):
    code = "TPR-4005"
    status = Status.INTERNAL
    cause = "The satellite's worker compresses an answer that the router had begun uncompressed"
    remedy = "Retry now that it is awake; 'torpor serve --no-wake-progress' lets workers begin"


class WorkerContinues(RouterError):
    code = "TPR-4006"
    status = Status.INTERNAL
    cause = "The satellite's worker goes on with an answer in another way than the router began it"
    remedy = "Retry now that it is awake; 'torpor serve --no-wake-progress' lets workers begin"


# 5xxx: the router itself


class Draining(RouterError):
    code = "TPR-5001"
    status = Status.UNAVAILABLE
    cause = "This router is shutting down"
    remedy = "Nothing to do: clients reconnect to another router by themselves"


class Internal(RouterError):
    code = "TPR-5002"
    status = Status.INTERNAL
    cause = "The router failed"
    remedy = "Retry; report it to the platform team with the time and this code"


class Retired(RouterError):
    code = "TPR-5004"
    status = Status.UNAVAILABLE
    cause = "The router is closing this connection"
    remedy = "Nothing to do: clients reconnect by themselves"


class ControlUnreachable(RouterError):
    code = "TPR-5003"
    status = Status.UNAVAILABLE
    cause = "The router's own control service does not answer"
    remedy = "Retry in a few seconds; if it stays so, tell the platform team"
