"""The status page, if it is wanted: else nothing of it is loaded."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from ssl import SSLContext

from torpor_router.door import bound
from torpor_router.keepalive import keep_alive
from torpor_router.names import stays_here, written_address
from torpor_router.serve.access import Access
from torpor_router.serve.config import BadConfiguration, ServeConfig
from torpor_router.serve.reload import Reload
from torpor_router.transport.tls import HTTP_1, ServerTls, TlsFiles
from torpor_statemachine.fleet import Fleet
from torpor_statemachine.postgres.pool import Database

logger = logging.getLogger(__name__)

_LOOK = 5.0  # seconds between two looks at the certificate's files


async def open_status(
    stack: AsyncExitStack,
    config: ServeConfig,
    database: Database,
    fleet: Fleet,
    access: Access,
    *,
    reload: Reload | None,
) -> None:
    """Listen until the stack ends, with the door's certificate, or on loopback without TLS.

    Raises:
        BadConfiguration: it cannot listen there.
    """
    from torpor_router.status.app import App
    from torpor_router.status.listener import Listener

    assert config.status is not None
    tls = _tls(config)
    try:
        sock = bound(*config.status)
    except OSError as error:
        where = written_address(config.status)
        raise BadConfiguration(f"no status page on {where}: {error.strerror}") from error
    keep_alive(sock)
    app = App(
        database=database,
        fleet=fleet,
        directory=access.directory,
        sessions=access.sessions,
        prices=config.prices,
        tls=tls is not None,
        port=sock.getsockname()[1],
    )
    listener = Listener(app, config.limits)
    stack.push_async_callback(listener.aclose)
    listens = await listener.listen(sock, (lambda: _context_of(tls)) if tls is not None else None)
    if tls is not None:
        if reload is not None:
            reload.add(lambda: _read_again(tls))
        looking = asyncio.create_task(_look_for_ever(tls), name="status page's certificate")
        stack.callback(looking.cancel)
    logger.info("the status page is at %s://%s:%d/", "https" if tls else "http", *listens)


def _tls(config: ServeConfig) -> ServerTls | None:
    if config.tls is None or config.status is None or stays_here(config.status.host):
        return None
    try:
        return ServerTls(TlsFiles(config.tls.certificate, config.tls.key), HTTP_1)
    except OSError as error:  # ssl.SSLError is one
        raise BadConfiguration(f"the status page's TLS files cannot be used: {error}") from error


def _context_of(tls: ServerTls) -> SSLContext:
    return tls.context


def _read_again(tls: ServerTls) -> None:
    tls.reload(unchanged=True)


async def _look_for_ever(tls: ServerTls) -> None:
    while True:
        await asyncio.sleep(_LOOK)
        tls.reload()
