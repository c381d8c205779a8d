"""Databases whose answers get lost, and those that many examples share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from torpor_statemachine.postgres.pool import Connection, Database, DatabaseAway, Record


class Forgetful(Database):
    """Carries statements out and loses the answers of those in `lose`: an event's name, or how
    the statement begins."""

    lose: list[str]

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.lose = []
        self.refused: list[tuple[str, ...]] = []

    def refuse(self, *words: str) -> None:
        """Carry out no statement that all `words` fit, until `refused` is cleared."""
        self.refused.append(words)

    async def fetchrow(self, sql: str, *values: Any) -> Record | None:
        self._refuse(sql, values)
        row = await super().fetchrow(sql, *values)
        self._forget(sql, values)
        return row

    async def fetchval(self, sql: str, *values: Any) -> Any:
        self._refuse(sql, values)
        value = await super().fetchval(sql, *values)
        self._forget(sql, values)
        return value

    def _refuse(self, sql: str, values: tuple[Any, ...]) -> None:
        for words in self.refused:
            if all(_fits(word, sql, values) for word in words):
                raise DatabaseAway("refused")

    def _forget(self, sql: str, values: tuple[Any, ...]) -> None:
        for word in self.lose:
            if _fits(word, sql, values):
                self.lose.remove(word)
                raise DatabaseAway("the answer was lost")


def _fits(word: str, sql: str, values: tuple[Any, ...]) -> bool:
    return word in values or sql.strip().startswith(word)


@asynccontextmanager
async def transaction(database: Database) -> AsyncIterator[Connection]:
    """What the product never does: a transaction with a client in the middle of it."""
    async with database.borrowed() as connection, connection.transaction():
        yield connection


@contextmanager
def lasting_database(server: str) -> Iterator[tuple[asyncio.Runner, Database]]:
    """A database for many examples, and the loop that it lives on."""
    with asyncio.Runner() as runner:
        lasting = _cloned(server)
        database = runner.run(lasting.__aenter__())
        try:
            yield runner, database
        finally:
            runner.run(lasting.__aexit__(None, None, None))


@asynccontextmanager
async def _cloned(server: str) -> AsyncIterator[Database]:
    name = f"lasting_{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"create database {name} template torpor_template")
        async with Database(urlsplit(server)._replace(path=f"/{name}").geturl()) as database:
            yield database
        await connection.execute(f"drop database {name} with (force)")
    finally:
        await connection.close()
