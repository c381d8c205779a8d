"""Which tokens and certificates were ended, kept on this machine beside the database's own word.

A database that is restored from a backup knows nothing of what was revoked after it, and lets it in
again. So each machine with a router keeps the ids of what it has seen ended (no secrets: ids and
names), and says so if the database thinks otherwise. What was revoked and restored between two
looks, or on a machine whose folder is lost too, nobody can know.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from torpor_router.access.errors import LetInAgain, UnreadableEndings
from torpor_statemachine import clock
from torpor_statemachine.postgres.pool import Database, DatabaseAway

log = logging.getLogger(__name__)

EVERY = 20.0  # seconds between two looks of a machine, however many its processes
FILE = "ended.json"
TOKEN, CERTIFICATE = "token", "certificate"
_NAMED = 5  # in a line of the log

_TOKENS = """
select 'token' as kind, tokens.id::text as id,
       coalesce(orgs.name, '-') || ' ' || tokens.name as name
  from tokens
  left join orgs on orgs.id = tokens.org_id
  left join members on members.id = tokens.member_id
 where (expires_at is null or expires_at > now())
"""
# Those that would let anyone in now, had they not been ended
_ENDED = f"""
{_TOKENS} and (revoked_at is not null or members.removed_at is not null)
union all
select 'certificate', id, reason from refused_certificates
"""
_LIVE = f"{_TOKENS} and tokens.id = any($1::uuid[]) and revoked_at is null and removed_at is null"


@dataclass(frozen=True, slots=True, order=True)
class Ended:
    """A token (`name` is its org's and its own) or a certificate (`name` is the reason given)."""

    kind: str
    id: str
    name: str


class Endings:
    """What `folder` knows of, against `database`."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._file = folder / FILE
        self._announced: frozenset[Ended] = frozenset()
        self._looked = False

    async def keep_for_ever(self) -> None:
        while True:
            try:
                if not self._looked or not await asyncio.to_thread(self._is_fresh):
                    await self.keep()
            except DatabaseAway:
                pass  # told by the heartbeat
            except UnreadableEndings as error:
                log.warning("%s", error)
            except Exception:
                log.exception("what was revoked could not be kept")
            await asyncio.sleep(clock.jittered(EVERY))

    async def keep(self) -> None:
        """Add what has been ended since, and warn of what lives again.

        Raises:
            UnreadableEndings: the file cannot be read or written.
            DatabaseAway: nobody can tell.
        """
        ended = await self._ended()
        again = await self._again(await asyncio.to_thread(self._read), ended)
        await asyncio.to_thread(self._merge, ended, again)
        self._looked = True
        self._warn(again)

    async def again(self) -> list[Ended]:
        """What was ended as far as this machine has seen, and lives again by the database.

        Raises:
            UnreadableEndings: the file cannot be read.
        """
        return sorted(await self._again(await asyncio.to_thread(self._read), await self._ended()))

    async def forget(self) -> None:
        """Believe the database from now on."""
        ended = await self._ended()
        await asyncio.to_thread(self._write_alone, ended)

    async def _ended(self) -> frozenset[Ended]:
        return frozenset(Ended(**row) for row in await self._database.fetch(_ENDED))

    async def _again(self, known: frozenset[Ended], ended: frozenset[Ended]) -> frozenset[Ended]:
        """A revoked token never lives again by itself, a certificate may be let in on purpose: it
        counts only where a token shows that the database is an older one."""
        ids = [UUID(each.id) for each in known if each.kind == TOKEN]
        tokens = frozenset(Ended(**row) for row in await self._database.fetch(_LIVE, ids))
        if not tokens:
            return tokens
        refused = {each.id for each in ended}
        return tokens | {
            each for each in known if each.kind == CERTIFICATE and each.id not in refused
        }

    def _warn(self, again: frozenset[Ended]) -> None:
        if new := sorted(again - self._announced):
            named = ", ".join(f"{each.kind} {each.name or each.id}" for each in new[:_NAMED])
            log.error("%s", LetInAgain(f"{len(new)}: {named}"))
        self._announced = again

    # --- The file: from a thread, for it may be slow, and another process may have locked it

    def _is_fresh(self) -> bool:
        """Whether another process of this machine has just looked."""
        try:
            return time.time() - self._file.stat().st_mtime < EVERY / 2
        except OSError:
            return False

    def _merge(self, ended: frozenset[Ended], again: frozenset[Ended]) -> None:
        """A certificate that was let in on purpose goes; what is new comes."""
        with self._locked():
            known = self._read()
            kept = {each for each in known if each.kind == TOKEN or each in again}
            if (now := ended | kept) != known or not self._file.exists():
                self._write(now)  # also where nothing was ended yet: an empty file is none of ours
            else:
                with self._coded_errors():
                    self._file.touch()

    def _write_alone(self, ended: frozenset[Ended]) -> None:
        with self._locked():
            self._write(ended)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the processes of this machine, which write what they have read."""
        with self._coded_errors():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._file.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> frozenset[Ended]:
        with self._coded_errors():
            try:
                text = self._file.read_text()
            except FileNotFoundError:
                return frozenset()
            try:
                return frozenset(Ended(**each) for each in json.loads(text))
            except (ValueError, TypeError) as error:
                raise UnreadableEndings(f"{self._file}: {error}") from error

    def _write(self, ended: frozenset[Ended]) -> None:
        """The whole of it or nothing, whatever happens meanwhile."""
        with self._coded_errors():
            new = self._file.with_suffix(".new")
            private = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(private, "w", encoding="utf-8") as file:
                json.dump([asdict(each) for each in sorted(ended)], file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)

    @contextmanager
    def _coded_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnreadableEndings(f"{self._file}: {error.strerror}") from error
