"""One way to open a database, for every file of rows the gateway keeps: SQLite (default) or PostgreSQL.

SQLite runs with WAL and ``synchronous=FULL``: a committed row survives a power cut (NORMAL does not promise that). Each thread
gets its own connection. A writer takes the write lock when its transaction begins, so that two writers queue instead of failing
halfway.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from gateway.errors import Misconfigured, Retryable

BUSY_TIMEOUT_SECS = 30

#: Filled into ``/*skip_locked*/`` in the named SQL. SQLite has one writer, so there is nothing to skip.
_SKIP_LOCKED = {"postgresql": "FOR UPDATE SKIP LOCKED", "sqlite": ""}


class Database:
    """An engine, its named SQL and its transactions."""

    def __init__(self, url: str) -> None:
        try:
            self._url = sa.engine.make_url(url)
        except sa.exc.ArgumentError as error:
            raise Misconfigured("database url: expected sqlite:///path or postgresql+psycopg://...") from error
        self.dialect = self._url.get_backend_name()
        if self.dialect not in _SKIP_LOCKED:
            raise Misconfigured(f"database url: {self.dialect} is not supported; use sqlite or postgresql+psycopg")
        if self.dialect == "sqlite" and self._url.database:
            Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _open(self._url)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write. A database that cannot take it now raises :class:`Retryable`."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise Retryable(f"the database could not be written ({_cause(error)})") from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view for reading."""
        try:
            with self.engine.connect().execution_options(isobridge_read=True) as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise Retryable(f"the database could not be read ({_cause(error)})") from error

    def statements(self, path: Path) -> dict[str, sa.TextClause]:
        """The named SQL of one ``.sql`` file, ready for this database."""
        return {name: sa.text(sql.replace("/*skip_locked*/", _SKIP_LOCKED[self.dialect])) for name, sql in _named(path)}

    def migrate(self, scripts: Path) -> None:
        """Bring the schema up to date. A schema newer than this release is refused, never touched.

        Raises :class:`Retryable` when the database cannot be reached, :class:`Misconfigured` when it is damaged.
        """
        try:
            self._migrate(scripts)
        except sa.exc.OperationalError as error:
            raise Retryable(f"{self._url.render_as_string()}: the database cannot be reached ({_cause(error)})") from error
        except sa.exc.DatabaseError as error:
            raise Misconfigured(
                f"{self._url.render_as_string()}: the database is damaged ({_cause(error)}); docs/operations.md, disasters"
            ) from error

    def _migrate(self, scripts: Path) -> None:
        from alembic import command  # takes half a second to import, and only a start needs it
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        known = ScriptDirectory.from_config(config)
        with self._migrating() as connection:
            if self.dialect == "postgresql":  # two that start at once on an empty database take turns
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7163001)"))
            current = MigrationContext.configure(connection).get_current_revision()
            if current is not None and current not in {revision.revision for revision in known.walk_revisions()}:
                raise Misconfigured(f"{self._url.render_as_string()}: written by a newer release (schema {current})")
            if current == known.get_current_head():
                return
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if self.dialect == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise Misconfigured(f"{self._url.render_as_string()}: rows refer to rows that are not there; restore the backup")

    @contextmanager
    def _migrating(self) -> Iterator[Connection]:
        """One transaction for a migration. SQLite rebuilds tables that others refer to, so it checks references at the end only.

        The pragma means nothing inside a transaction; so it is set before, and the connection is not used again.
        """
        with self.engine.connect().execution_options(isobridge_migration=True) as connection:
            try:
                with connection.begin():
                    yield connection
            finally:
                connection.invalidate()

    def close(self) -> None:
        self.engine.dispose()


@cache
def _named(path: Path) -> tuple[tuple[str, str], ...]:
    """Split ``-- name: <word>`` blocks; the comment lines below a name are its documentation and stay in the SQL."""
    blocks = re.split(r"^-- name: (\w+)$", path.read_text(), flags=re.MULTILINE)[1:]
    return tuple(
        (name, re.sub(r"^--.*$", "", body, flags=re.MULTILINE).strip())
        for name, body in zip(blocks[::2], blocks[1::2], strict=True)
    )


def _open(url: sa.URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(
            url, connect_args={"timeout": BUSY_TIMEOUT_SECS, "check_same_thread": False}, hide_parameters=True
        )
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin and commit ourselves, see _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isobridge_migration", False):
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
    reading = options.get("isobridge_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _record: object) -> None:
    """Refuse a server that answers a commit before it is on disk: an acknowledged study would hang on it."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        setting = cursor.fetchone()[0]
    connection.commit()
    if setting == "off":
        raise Misconfigured("postgresql: synchronous_commit is off; acknowledged objects could be lost")


def _cause(error: sa.exc.DatabaseError) -> str:
    """The driver's own words: they speak of locks, disks and connections, never of rows."""
    return str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
