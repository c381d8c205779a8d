"""The composition root: one node, from its configuration to its end.

Every part is made here and given to those that need it; none looks another up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torpor_provisioner.contract import Address, Provisioner
from torpor_provisioner.errors import Invalid
from torpor_provisioner.registry import create
from torpor_router.control.operator_calls import OperatorCalls
from torpor_router.control.server import ControlServer
from torpor_router.control.usage_calls import UsageCalls
from torpor_router.dialects.last_answers import LastAnswers
from torpor_router.door import Door
from torpor_router.names import written_address
from torpor_router.probe import answers
from torpor_router.relay.context import Traced
from torpor_router.serve.access import make_access
from torpor_router.serve.config import BadConfiguration, ServeConfig, Traces
from torpor_router.serve.notices import deliver_notices, webhook_calls
from torpor_router.serve.ports import cannot_listen
from torpor_router.serve.reload import Reload
from torpor_router.serve.status import open_status
from torpor_router.serve.wanted import Wanted
from torpor_router.telemetry.month import Month
from torpor_router.telemetry.telemetry import Telemetry
from torpor_router.transport.failed_hosts import FailedHosts
from torpor_router.transport.tls import ServerTls, TlsFiles, WorkerTls
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.postgres.pool import Database
from torpor_statemachine.postgres.role import lacking
from torpor_statemachine.store.answers import Answers
from torpor_statemachine.store.usage import Usage

if TYPE_CHECKING:
    from torpor_router.telemetry.traces.tracing import Tracing

logger = logging.getLogger(__name__)


async def run_node(
    config: ServeConfig,
    url: str,
    stop: asyncio.Event,
    reload: Reload | None = None,
    failed_hosts: FailedHosts | None = None,
) -> None:
    """Serve until `stop` is set, then drain. At each `reload`, TLS files are read again.

    `failed_hosts` is what the processes of a host share.

    Raises:
        TorporError: it could not start, with the code of why.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        tracing = _tracing(config.traces) if config.traces is not None else None
        telemetry = await enter(Telemetry(tracing, provisioners=config.provisioners))
        database = await enter(Database(url, poll_only=config.poll_only))
        if config.poll_only and await lacking(database):
            logger.warning("the database's role lacks settings: 'torpor migrate' prints them")
        provisioners = _provisioners(config, stack)
        server_tls, worker_tls = _server_tls(config), _worker_tls(config)
        if reload is not None:
            reload.add(partial(_read_again, server_tls, worker_tls))
        fleet = Fleet(
            database,
            provisioners,
            probe=partial(_answers, worker_tls),
            config=config.fleet,
            observer=telemetry.fleet_observer,
            folder=config.data / "nodes",
        )
        stack.push_async_callback(fleet.aclose)
        await fleet.start()
        access = await make_access(stack, database, config)
        answers = None if config.looks_wake else LastAnswers(Answers(database))
        if answers is not None:
            stack.push_async_callback(answers.aclose)
        control = ControlServer(
            fleet,
            access.directory,
            default_provisioner=config.provisioners[0],
            access=access.calls,
            usage=UsageCalls(Usage(database), config.prices),
            webhooks=webhook_calls(database, config),
            operators=OperatorCalls(database),
            audit=access.audit,
            observer=telemetry.control_observer,
            answers=answers,
        )
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torpor-"))) / "control"
        stack.push_async_callback(control.aclose)
        await control.start(own)
        door = Door(
            gate=fleet,
            directory=access.directory,
            own=own,
            limits=config.limits,
            observer=telemetry.relay_observer,
            tls=server_tls,
            worker_tls=worker_tls,
            domain=config.domain,
            answers=answers,
            wake_progress=config.wake_progress,
            traced=_traced(config.traces, tracing),
            failed_hosts=failed_hosts,
        )
        fleet.look_at_streams(door.streams_on)
        stack.push_async_callback(door.aclose)
        telemetry.read(door=door, fleet=fleet, database=database)
        telemetry.count_notices(await deliver_notices(stack, database, config, fleet.living))
        telemetry.read_month(Month(database, config.prices, config.metrics_by))
        await _tell_metrics(telemetry, config)
        if config.status is not None:
            await open_status(stack, config, database, fleet, access, reload=reload)
        bound = await _open(door, config, fleet)
        wanted = Wanted(written_address(bound), door, telemetry)
        fleet.tells(wanted.report, wanted.drain)
        telemetry.ready = True
        await wanted.either(stop)
        telemetry.ready = False
        await asyncio.gather(door.drain(config.drain), control.drain(config.drain))
        wanted.drained()
        logger.info("drained")
        await wanted.end(stop)


async def _answers(tls: WorkerTls | None, address: Address, timeout: float) -> bool:  # noqa: ASYNC109 - as `answers`
    return await answers(address, timeout, tls.probe_context if tls is not None else None)


def _tracing(traces: Traces) -> Tracing:
    from torpor_router.telemetry.traces.tracing import Tracing  # the SDK's, for who wants them

    try:
        return Tracing(traces.url, hot=traces.hot)
    except (ValueError, RuntimeError, OSError) as error:
        raise BadConfiguration(f"--traces-to: {error}") from error


def _traced(traces: Traces | None, tracing: Tracing | None) -> Traced | None:
    to_workers = traces is not None and traces.to_workers
    return tracing.holds.for_worker if to_workers and tracing is not None else None


def _read_again(*those: ServerTls | WorkerTls | None) -> None:
    present = [each for each in those if each is not None]
    for each in present:
        each.reload(unchanged=True)
    if not present:
        logger.info("there are no TLS files to read again")


async def _tell_metrics(telemetry: Telemetry, config: ServeConfig) -> None:
    if config.metrics is None:
        return
    try:
        bound = await telemetry.listen(config.metrics.host, config.metrics.port)
    except OSError as error:
        raise BadConfiguration(
            f"no metrics on {written_address(config.metrics)}: {error.strerror}"
        ) from error
    logger.info("metrics are at http://%s:%d/metrics", *bound)


async def _open(door: Door, config: ServeConfig, fleet: Fleet) -> Address:
    try:
        bound = await door.listen(
            config.listen.host,
            config.listen.port,
            reuse_port=config.shares_port,
            proxy_protocol=config.proxy_protocol,
        )
    except OSError as error:
        raise cannot_listen(config.listen, error) from error
    how = "TLS" if config.tls else "plaintext"
    logger.info("node %s (pid %d) listens on %s:%d, %s", fleet.node_id, os.getpid(), *bound, how)
    return Address(*bound)


def _provisioners(config: ServeConfig, stack: AsyncExitStack) -> Mapping[str, Provisioner]:
    made: dict[str, Provisioner] = {}
    for name in config.provisioners:
        try:
            made[name] = create(name, os.environ, config.data)
        except Invalid as error:
            if type(error) is not Invalid:  # it has a code and a remedy of its own
                raise
            raise BadConfiguration(f"--provisioner {name}: {error.detail}") from error
        stack.push_async_callback(made[name].aclose)
    return made


def _server_tls(config: ServeConfig) -> ServerTls | None:
    if config.tls is None:
        return None
    tls = config.tls
    try:
        return ServerTls(TlsFiles(tls.certificate, tls.key, tls.client_ca))
    except OSError as error:  # ssl.SSLError is one
        raise BadConfiguration(f"the door's TLS files cannot be used: {error}") from error


def _worker_tls(config: ServeConfig) -> WorkerTls | None:
    if config.worker_tls is None:
        return None
    tls = config.worker_tls
    try:
        return WorkerTls(tls.ca, config.domain, tls.certificate, tls.key)
    except OSError as error:
        raise BadConfiguration(f"the worker TLS files cannot be used: {error}") from error
