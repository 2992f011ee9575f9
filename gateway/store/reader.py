"""Reading past SQLAlchemy: statements of our own to the driver, on connections that are kept for reading.

To take a connection from an engine, begin, execute once and give it back costs SQLAlchemy 0.2 ms; SQLite finds a resource
in 0.02 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect, Engine

from gateway.database import Database
from gateway.errors import Retryable
from gateway.store.limits import refusal, stop_after
from gateway.store.sql import Sql, for_driver
from gateway.store.stored import Row

#: Connections that wait for the next question. More than so many at once are opened for one question each.
_MOST_IDLE = 8
#: Of SQLite, memory for pages, each.
_CACHE_KIB = 8192


class Reader:
    """Asks the database, in a view or transaction that is open. Raises SQLAlchemy's errors, which all rooms know."""

    def __init__(self, driver: Any, dialect: Dialect) -> None:
        self._driver = driver
        self._dialect = dialect

    @classmethod
    def within(cls, connection: Connection) -> Reader:
        """In the transaction of a connection: sees what it wrote."""
        return cls(connection.connection.driver_connection, connection.dialect)

    def rows(self, statement: Sql) -> list[Row]:
        return self.run(*for_driver(statement, self._dialect.name))

    def first(self, statement: Sql) -> Row | None:
        return next(iter(self.rows(statement)), None)

    def run(self, text: str, values: Row = ()) -> list[Row]:
        """A text as the driver takes it."""
        errors: Any = self._dialect.loaded_dbapi.Error
        try:
            cursor = self._driver.execute(text, values) if values else self._driver.execute(text)
            found: list[Row] = cursor.fetchall() if cursor.description else []
        except errors as error:
            raise sa.exc.DBAPIError.instance(text, None, error, errors, hide_parameters=True, dialect=self._dialect) from error
        return found


class Readers:
    """Connections to one database that only read. Safe to use from several threads: each question has one for itself."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._idle: list[_Kept] = []
        self._is_closed = False

    @contextmanager
    def reading(self, seconds: float) -> Iterator[Reader]:
        """One view, in which no statement runs longer than that.

        Raises :class:`~gateway.errors.Rejected` (400) for one that was stopped, :class:`Retryable` when the database cannot be read.
        """
        try:
            kept = self._begun(seconds)
            try:
                yield kept.reader
            finally:
                self._end(kept)
        except sa.exc.OperationalError as error:
            refused = refusal(error, seconds)
            reason = str(error.orig).strip().splitlines()[:1]
            raise refused or Retryable(f"the database could not be read ({''.join(reason)})") from error

    def _begun(self, seconds: float) -> _Kept:
        """What waited may have been cut off meanwhile: then another one is opened."""
        while self._idle:
            with suppress(IndexError):  # two took the last one
                kept = self._idle.pop()
                try:
                    kept.begin(seconds)
                except sa.exc.OperationalError:
                    kept.close()
                else:
                    return kept
        kept = _Kept(self._engine)
        kept.begin(seconds)
        return kept

    def _end(self, kept: _Kept) -> None:
        try:
            kept.end()
        except sa.exc.OperationalError:
            kept.close()
            return
        if self._is_closed or len(self._idle) >= _MOST_IDLE:
            kept.close()
        else:
            self._idle.append(kept)

    def close(self) -> None:
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()


class _Kept:
    """One connection that is no longer the engine's."""

    def __init__(self, engine: Engine) -> None:
        self._own = engine.raw_connection()
        driver: Any = self._own.driver_connection
        self._own.detach()
        self._driver = driver
        self._is_sqlite = engine.dialect.name == "sqlite"
        self.reader = Reader(driver, engine.dialect)
        if self._is_sqlite:
            self.reader.run("PRAGMA query_only=ON")
            self.reader.run(f"PRAGMA cache_size=-{_CACHE_KIB}")
        else:
            driver.autocommit = True  # we begin ourselves
            # one plan for all values knows not how many rows a value has, and was seen to take 1.8 s instead of 3 ms
            self.reader.run("SET plan_cache_mode = force_custom_plan")

    def begin(self, seconds: float) -> None:
        if self._is_sqlite:
            self.reader.run("BEGIN")
            stop_after(self._driver, seconds)
        else:  # both at once, and it tells whether the server is still there
            self.reader.run(
                f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"
            )

    def end(self) -> None:
        if self._is_sqlite:
            stop_after(self._driver, None)
        self.reader.run("ROLLBACK")

    def close(self) -> None:
        self._own.close()
