"""From a configuration to a running process, and from a signal to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop

from torpor_router.serve.config import ServeConfig
from torpor_router.serve.garbage import collect_rarely
from torpor_router.serve.memory import give_back_for_ever
from torpor_router.serve.node import run_node
from torpor_router.serve.ports import cannot_bind, cannot_listen
from torpor_router.serve.reload import Reload
from torpor_router.serve.supervisor import FAILED_HOSTS, PROCESS_INDEX, supervise
from torpor_router.transport.failed_hosts import open_shared
from torpor_statemachine.postgres.embedded import EmbeddedPostgres
from torpor_statemachine.postgres.migrate import migrate

logger = logging.getLogger(__name__)

DATABASE_URL = "TORPOR_DATABASE_URL"


def run(config: ServeConfig) -> None:
    """Serve until SIGTERM or SIGINT; returns when everything has drained. SIGHUP reads TLS files.

    Raises:
        TorporError: it could not start, with the code of why.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what it asks for is done at the start anyway
    collect_rarely()
    uvloop.run(_serve(config))


async def _serve(config: ServeConfig) -> None:
    stop = asyncio.Event()
    reload = Reload()
    _listen_to_signals(stop)
    reload.on_signal(asyncio.get_running_loop())
    giving_back = asyncio.create_task(give_back_for_ever(), name="free memory")
    try:
        await _serve_until(config, stop, reload)
    finally:
        giving_back.cancel()


async def _serve_until(config: ServeConfig, stop: asyncio.Event, reload: Reload) -> None:
    index = os.environ.get(PROCESS_INDEX)
    if index is not None:
        assert config.database_url is not None  # the supervisor gives it
        _follow_supervisor(stop, reload)
        shared = os.environ.get(FAILED_HOSTS)  # not of the demo, nor of an older supervisor
        failed_hosts = open_shared(int(shared)) if shared is not None else None
        own, url = config.for_process(int(index)), config.database_url
        await run_node(own, url, stop, reload, failed_hosts)
        return
    if not config.share_port and (error := cannot_bind(*config.listen)):
        raise cannot_listen(config.listen, error)
    async with _database(config) as url:
        await migrate(url)
        if config.processes == 1:
            await run_node(config, url, stop, reload)
        else:
            # By environment, not by argument: an argument list can be read by every user.
            await supervise(sys.argv[1:], config.processes, {DATABASE_URL: url}, stop, reload)


@asynccontextmanager
async def _database(config: ServeConfig) -> AsyncIterator[str]:
    if config.database_url is not None:
        yield config.database_url
        return
    postgres = EmbeddedPostgres(config.data / "postgres")
    async with postgres.running() as url:
        if postgres.is_anothers:
            logger.warning(
                "the embedded Postgres in %s belongs to another process and ends with it;"
                " give several routers a database of their own with %s",
                config.data,
                DATABASE_URL,
            )
        yield url


def _listen_to_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            logger.warning("second signal: stopping at once")
            os._exit(128 + number)
        logger.info("draining; a second signal stops at once")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def _follow_supervisor(stop: asyncio.Event, reload: Reload) -> None:
    """Each octet on our standard input asks for a reload; its end says that the supervisor is gone.

    Unlike a signal, an octet that comes before this process is ready waits, and kills nobody.
    """
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if os.read(sys.stdin.fileno(), 1):
            reload()
        else:
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    loop.add_reader(sys.stdin.fileno(), readable)
