"""Moves a whole store to another database, row by row, and proves with digests that both hold the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.errors import Misconfigured, Quarantined
from gateway.store.tables import METADATA, RES
from gateway.store.writer import lock_writers

_MIGRATIONS = Path(__file__).parent / "migrations"
_ROWS_AT_ONCE = 2000
_NOT_OURS = frozenset({"alembic_version"})

#: Told a table and how many of its rows are copied.
Note = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Copied:
    """Rows by table, and the SHA-256 over all of them in order, equal on both sides."""

    rows: dict[str, int]
    digest: str


def copy_store(source_url: str, target_url: str, note: Note = lambda _table, _rows: None) -> Copied:
    """Copy resources, history and index in one transaction, as they are at one moment; the source is only read.

    Raises :class:`Misconfigured` when the target holds resources already, :class:`Quarantined` when what was read back is not
    what was written, :class:`Retryable` when a database cannot be reached.
    """
    source, target = Database(source_url), Database(target_url)
    try:
        source.migrate(_MIGRATIONS)
        target.migrate(_MIGRATIONS)
        with source.read() as reading:
            if source.dialect == "postgresql":
                reading.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            tables = _tables(reading)
            with target.write() as writing:
                lock_writers(writing)
                _make_room(writing, tables)
                read = _Account()
                for table in tables:
                    for rows in _parts(reading, table):
                        read.add(str(table.name), rows)
                        _insert(writing, table, rows)
                        note(str(table.name), read.rows[str(table.name)])
        found = _Account()
        with target.read() as checking:
            for table in tables:
                for rows in _parts(checking, table):
                    found.add(str(table.name), rows)
    finally:
        source.close()
        target.close()
    if found.copied() != read.copied():
        raise Quarantined("what was read back is not what was copied; do not use the new database, copy again into an empty one")
    return read.copied()


class _Account:
    """Counts and hashes rows in the order in which they come."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self._hash = hashlib.sha256()

    def add(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        self.rows[table] = self.rows.get(table, 0) + len(rows)
        for row in rows:
            self._hash.update(msgspec.msgpack.encode((table, *row)))

    def copied(self) -> Copied:
        return Copied(dict(self.rows), self._hash.hexdigest())


def _tables(connection: Connection) -> list[sa.Table]:
    """All tables of the store. Raises :class:`Misconfigured` when there is one that this release does not know."""
    there = set(sa.inspect(connection).get_table_names()) - _NOT_OURS
    if unknown := sorted(there - set(METADATA.tables)):
        raise Misconfigured(f"the store holds tables that are not the store's: {', '.join(unknown)}; nothing is copied")
    return [METADATA.tables[name] for name in sorted(there)]


def _make_room(connection: Connection, tables: Sequence[sa.Table]) -> None:
    if connection.execute(sa.select(sa.func.count()).select_from(RES)).scalar_one():
        raise Misconfigured("the target holds resources already; a copy goes into an empty database")
    for table in tables:  # what a first start writes by itself: numbers of parameters, the fingerprint of the index
        connection.execute(sa.delete(table))


def _parts(connection: Connection, table: sa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in the order of their keys, which is the same on both databases."""
    keys = list(table.primary_key.columns) or list(table.columns)
    streamed = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(sa.select(table).order_by(*keys))
    for part in streamed.partitions(_ROWS_AT_ONCE):
        yield [tuple(row) for row in part]


def _insert(connection: Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    names = [column.name for column in table.columns]
    if connection.dialect.name == "sqlite":
        connection.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copying:
        for row in rows:
            copying.write_row(row)
