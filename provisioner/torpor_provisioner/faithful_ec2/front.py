"""The WSGI application: every request comes through here, and moto answers most of them."""

from __future__ import annotations

import io
import re
import select
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Request, Response

from torpor_provisioner.faithful_ec2 import admin
from torpor_provisioner.faithful_ec2.calls import Calls
from torpor_provisioner.faithful_ec2.limits import Limits
from torpor_provisioner.faithful_ec2.query import Query, Refusal, refused, refused_by_sts
from torpor_provisioner.faithful_ec2.rules import Done, Rules
from torpor_provisioner.faithful_ec2.script import Effect, Fault, Script
from torpor_provisioner.faithful_ec2.timing import Clock, Timing
from torpor_provisioner.faithful_ec2.workers import Workers
from torpor_provisioner.faithful_ec2.world import World

DRY_RUN = "Request would have succeeded, but DryRun flag is set."
HUNG = "(hung)"  # in the log, where other refusals have their code
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class Front:
    """`lock` guards everything below it, and moto's EC2: none of it is made for threads."""

    def __init__(self, clock: Clock, timing: Timing, workers: Workers) -> None:
        self.lock = threading.RLock()
        self.moved = threading.Condition(self.lock)
        self.calls = Calls()
        self.limits = Limits()
        self.script = Script()
        self.trust: dict[str, str] = {}  # role ARN to the external id that it asks for
        self.world = World(clock, timing, self.script, workers)
        self._rules = Rules(self.world, self.script)
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __repr__(self) -> str:
        return f"<Front {self.world!r} {self.calls!r}>"

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = Request(environ).get_data()
        environ["wsgi.input"] = io.BytesIO(body)  # moto is to find it as it came
        query = Query.read(environ.get("HTTP_AUTHORIZATION", ""), body)
        if environ.get("PATH_INFO", "").startswith(admin.PATH):
            answer = partial(admin.answer, self, Request(environ))
        elif query is not None and query.service == "ec2":
            answer = partial(self._ec2, query, environ)
        elif query is not None and query.action == "AssumeRole":
            answer = partial(self._assume_role, query, environ)
        else:  # another service: moto's own business, and a long poll must not hold the lock
            return self._pass(environ)(environ, start_response)
        if query is not None and self._hangs(query, environ):
            return Response(status=503)(environ, start_response)  # nobody is there to read it
        with self.lock:
            self.world.advance()
            response = answer()
            late = self._next(Effect.LATE, query)
            self.moved.notify_all()
        if late is not None:
            _wait_for_the_end(environ, late.seconds)
        return response(environ, start_response)

    def _next(self, effect: Effect, query: Query | None) -> Fault | None:
        if query is None:
            return None
        return self.script.next(effect, query.action, query.instances)

    def _hangs(self, query: Query, environ: Environ) -> bool:
        with self.lock:
            fault = self._next(Effect.HANG, query)
            if fault is None:
                return False
            self.calls.add(
                query.key,
                query.instances,
                code=HUNG,
                effective=[],
                lost=True,
                caller=_caller(environ),
            )
        _wait_for_the_end(environ, fault.seconds)  # without the lock: the others are served
        return True

    def _ec2(self, query: Query, environ: Environ) -> Response:
        action, instances = query.action, query.instances
        effective: list[str] = []
        code, lost = "", False
        try:
            done = self._granted(query, environ)
            response, effective = done.response, done.effective
            lost = self.script.next(Effect.LOSE, action, instances) is not None
        except Refusal as refusal:
            code, response = refusal.code, refused(refusal)
        if response.status_code >= 400 and not code:
            found = re.search(r"<Code>(\S+?)</Code>", response.get_data(as_text=True))
            code = found[1] if found else str(response.status_code)
        self.calls.add(
            query.key,
            instances or effective,
            code=code,
            effective=effective,
            lost=lost,
            caller=_caller(environ),
            shown={} if code else self._shown(query),
        )
        if lost:
            _hang_up(environ)
        return response

    def _shown(self, query: Query) -> dict[str, str]:
        if query.action != "DescribeInstances":
            return {}
        return {name: str(self.world.machines[name].phase) for name in query.instances}

    def _granted(self, query: Query, environ: Environ) -> Done:
        resources = self._rules.resources(query)
        if not self.limits.pass_(query.key, resources, self.world.clock.now()):
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.", status=503)
        fault = self.script.next(Effect.REFUSE, query.action, query.instances)
        if fault is not None:
            raise Refusal(fault.code, fault.message, fault.status)
        if query.form.get("DryRun") == "true":
            raise Refusal("DryRunOperation", DRY_RUN, status=412)
        return self._rules.answer(query, lambda: self._pass(environ))

    def _assume_role(self, query: Query, environ: Environ) -> Response:
        role = query.form.get("RoleArn", "")
        wanted = self.trust.get(role)
        code = ""
        if wanted is not None and query.form.get("ExternalId") != wanted:
            code = "AccessDenied"
            caller = f"arn:aws:iam::{query.account}:root"
            message = f"User: {caller} is not authorized to perform: sts:AssumeRole on {role}"
            response = refused_by_sts(Refusal(code, message, status=403))
        else:
            response = self._pass(environ)
            ends = datetime.now(UTC) + timedelta(seconds=self.world.timing.session)
            body = response.get_data(as_text=True)
            said = f"<Expiration>{ends:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            response.set_data(re.sub(r"<Expiration>.*?</Expiration>", said, body))
        self.calls.add(query.key, [role], code=code, effective=[], lost=False)
        return response

    def _pass(self, environ: Environ) -> Response:
        return Response.from_app(self._moto, environ, buffered=True)


def _caller(environ: Environ) -> str:
    """The application id that SDKs add to their own names."""
    found = re.search(r"\bapp/(\S+)", environ.get("HTTP_USER_AGENT", ""))
    return found[1] if found else ""


def _wait_for_the_end(environ: Environ, seconds: float) -> None:
    """Until the caller closes the connection, or for so long."""
    connection: socket.socket = environ["werkzeug.socket"]
    select.select([connection], [], [], seconds)


def _hang_up(environ: Environ) -> None:
    """Break the connection; whatever is written to it later goes nowhere."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
