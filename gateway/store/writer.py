"""Writes a transaction: all of it or nothing, one writer at a time, and no new version for what has not changed."""

from __future__ import annotations

import gc
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4.canonical import content_hash, decode, encode
from gateway.store import dates
from gateway.store.bundle import CONFLICT, PRECONDITION_FAILED, Change
from gateway.store.index import Indexer, Rows
from gateway.store.tables import HIST, INDEX_TABLES, RES

#: Hashes of what has no content: a deleted resource.
_NOTHING = ""
#: Bound parameters per statement; SQLite allows 32,766.
_CHUNK = 500
#: The advisory lock that makes writers of one PostgreSQL database queue, as SQLite's do by nature.
_WRITER_LOCK = 0x150B71D6

_COLUMNS = {table.name: tuple(column.name for column in table.columns) for table in (RES, HIST, *INDEX_TABLES.values())}
_INSERTS = {
    name: f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 names of our own tables
    for name, columns in _COLUMNS.items()
}
_CURRENT = "rid, type, id, version, updated, deleted, hash, writer"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change with what can be computed before the write lock is held. ``rows`` is ``None`` when nothing seemed to change."""

    change: Change
    hash: str
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change."""

    change: Change
    status: str
    version: int
    updated: int  #: microseconds since 1970, UTC


@dataclass(slots=True)
class _Batch:
    """Rows gathered over the whole transaction, written table by table."""

    inserted: list[tuple[Any, ...]] = field(default_factory=list)
    updated: list[tuple[Any, ...]] = field(default_factory=list)
    retired: list[tuple[Any, ...]] = field(default_factory=list)
    added_rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    removed_rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))


def compress(body: bytes) -> bytes:
    """Level 1: an ImagingStudy shrinks twentyfold in 0.1 ms; higher levels cost more than the disk they save."""
    return zlib.compress(body, 1)


def decompress(body: bytes) -> bytes:
    return zlib.decompress(body)


def hashed(changes: Iterable[Change]) -> list[Prepared]:
    """Each change with the hash of its content. Raises :class:`Rejected` (400) when a resource cannot be written as JSON."""
    return [Prepared(change, change.hash or (_NOTHING if change.resource is None else _hash(change))) for change in changes]


def _hash(change: Change) -> str:
    try:
        return content_hash(change.resource or {})
    except (TypeError, ValueError, RecursionError) as error:
        raise Rejected(f"{change.type} cannot be written as JSON ({type(error).__name__})", status=400) from error


def indexed(item: Prepared, indexer: Indexer) -> Prepared:
    """The change with its index rows. Raises :class:`Rejected` (400) when the resource has not the shape of FHIR."""
    if item.change.resource is None:
        return Prepared(item.change, item.hash, {})
    try:
        return Prepared(item.change, item.hash, indexer.rows(item.change.resource))
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        reason = f"{item.change.type} does not have the shape of a FHIR resource ({type(error).__name__})"
        raise Rejected(reason, status=400) from error


@dataclass(frozen=True, slots=True)
class _Current:
    """What there is under an id, without its body."""

    rid: int
    type: str
    id: str
    version: int
    updated: int
    deleted: bool
    hash: str
    writer: str


def _same(item: Prepared, current: _Current, by: str) -> bool:
    """Whether there is nothing to write. What others wrote becomes the gateway's own once it writes the same."""
    return bool(current.hash == item.hash) and (by != "" or current.writer == "")


def _check_owner(item: Prepared, current: _Current | None, by: str) -> None:
    """What this gateway published is not for others to change: it would be published again, or stay wrong."""
    if by and current is not None and not current.writer:
        raise Rejected(
            f"{item.change.type}: this resource is published by the gateway itself; correct it where it comes from",
            status=CONFLICT,
            code="business-rule",
        )


def unchanged(connection: Connection, prepared: Sequence[Prepared]) -> dict[tuple[str, str], Outcome]:
    """The changes that change nothing, by identity: what they would write is there already."""
    known = {(row.type, row.id): row for row in _existing(connection, [item.change for item in prepared])}
    found = {}
    for item in prepared:
        current = known.get(item.change.identity)
        _check_version(item.change, current)
        if current is not None and _same(item, current, ""):
            found[item.change.identity] = _as_it_was(item, current)
    return found


def write(connection: Connection, prepared: Sequence[Prepared], indexer: Indexer, now: int, *, by: str = "") -> list[Outcome]:
    """Do all changes in the open transaction. ``by``: who asks, empty for this gateway itself.

    Raises :class:`Rejected`: 412 when a version expected is not the current one, 409 when somebody else wants to change what the gateway
    published.
    """
    lock_writers(connection)
    known = {(row.type, row.id): row for row in _existing(connection, [item.change for item in prepared])}
    next_rid = (_fetch(connection, "SELECT max(rid) FROM res")[0][0] or 0) + 1
    batch = _Batch()
    outcomes = []
    for item in prepared:
        current = known.get(item.change.identity)
        _check_version(item.change, current)
        if current is None and item.change.resource is None:
            outcomes.append(Outcome(item.change, "204 No Content", 0, now))
            continue
        if current is not None and _same(item, current, by):
            outcomes.append(_as_it_was(item, current))
            continue
        _check_owner(item, current, by)
        rid = next_rid if current is None else current.rid
        next_rid += current is None
        # Rows are missing only when another writer changed the resource since we looked.
        ready = item if item.rows is not None else indexed(item, indexer)
        body = _fetch(connection, "SELECT body FROM res WHERE rid = ?", (rid,))[0][0] if current is not None else b""
        outcomes.append(_change(batch, ready, current, bytes(body), rid, now, indexer, by))
    _flush(connection, batch)
    return outcomes


@contextmanager
def uncollected() -> Iterator[None]:
    """A transaction makes ten thousands of tuples and no cycle: to look for cycles meanwhile takes a tenth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()  # whatever it was: of two threads one could take the other's "off" for the state to go back to, and it stayed off


def lock_writers(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))


def _existing(connection: Connection, changes: Sequence[Change]) -> Iterator[_Current]:
    by_type: dict[str, list[str]] = {}
    for change in changes:
        by_type.setdefault(change.type, []).append(change.id)
    for kind, ids in by_type.items():
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            sql = f"SELECT {_CURRENT} FROM res WHERE type = ? AND id IN ({', '.join('?' * len(part))})"  # noqa: S608 fixed words
            for row in _fetch(connection, sql, (kind, *part)):
                yield _Current(*row)


def _fetch(connection: Connection, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with _cursor(connection) as cursor:
        cursor.execute(sql if connection.dialect.name == "sqlite" else sql.replace("?", "%s"), values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


@contextmanager
def _cursor(connection: Connection) -> Iterator[Any]:
    """Past SQLAlchemy, which takes ten times as long as a small statement itself. Its errors are raised as SQLAlchemy raises them."""
    driver: Any = connection.connection.driver_connection
    cursor = driver.cursor()
    try:
        yield cursor
    except connection.dialect.loaded_dbapi.OperationalError as error:
        raise sa.exc.OperationalError(None, None, error) from error
    finally:
        cursor.close()


def _check_version(change: Change, current: _Current | None) -> None:
    if change.if_match is not None and (current is None or current.version != change.if_match):
        raise Rejected(f"{change.type}: the version expected is not the current one", status=PRECONDITION_FAILED)
    if change.only_new and current is not None and not current.deleted:
        raise Rejected(f"{change.type}: there is a resource under this id already", status=PRECONDITION_FAILED)


def _as_it_was(item: Prepared, current: _Current) -> Outcome:
    status = "200 OK" if item.change.resource is not None else "204 No Content"
    return Outcome(item.change, status, current.version, current.updated)


def _change(
    batch: _Batch, item: Prepared, current: _Current | None, former: bytes, rid: int, now: int, indexer: Indexer, by: str
) -> Outcome:
    """``former`` is the body that there is."""
    version = 1 if current is None else current.version + 1
    deleted = item.change.resource is None
    body = b"" if item.change.resource is None else compress(encode(stamped(item.change.resource, version, now)))
    old_rows: Rows = {}
    if current is None:
        batch.inserted.append((rid, item.change.type, item.change.id, version, now, deleted, item.hash, body, by))
    else:
        batch.updated.append((version, now, deleted, item.hash, body, by, rid))
        batch.retired.append((rid, current.version, current.updated, current.deleted, former))
        old_rows = {} if current.deleted else indexer.rows(decode(decompress(former)))
    new_rows, own = item.rows or {}, (rid,)
    if not old_rows:
        for table, values in new_rows.items():
            batch.added_rows[table] += [row + own for row in values]
    # Only the difference is written: most updates of a study leave most of its index rows as they are.
    for table in (new_rows.keys() | old_rows.keys()) if old_rows else ():
        new, old = new_rows.get(table, set()), old_rows.get(table, set())
        batch.added_rows[table] += [row + own for row in new - old]
        batch.removed_rows[table] += [row + own for row in old - new]
    if deleted:
        return Outcome(item.change, "204 No Content", version, now)
    return Outcome(item.change, "201 Created" if current is None or current.deleted else "200 OK", version, now)


def stamped(resource: JsonObject, version: int, now: int) -> JsonObject:
    """The resource with the store's own version and time in its ``meta``, in the official order of elements."""
    own = {"versionId": str(version), "lastUpdated": dates.as_instant(now)}
    head = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": own}
    given = resource.get("meta", {})
    return head | resource | {"meta": own | given | own}


def _flush(connection: Connection, batch: _Batch) -> None:
    insert_rows(connection, "hist", batch.retired)
    if batch.updated:
        _many(
            connection,
            "UPDATE res SET version = ?, updated = ?, deleted = ?, hash = ?, body = ?, writer = ? WHERE rid = ?",
            batch.updated,
        )
    insert_rows(connection, "res", batch.inserted)
    for name, rows in batch.removed_rows.items():
        _delete_rows(connection, name, rows)
    for name, rows in batch.added_rows.items():
        rows.sort()  # neighbours in the table are written one after the other
        insert_rows(connection, name, rows)


def _delete_rows(connection: Connection, name: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        condition = " AND ".join(f"{column} = ?" for column in _COLUMNS[name])
        _many(connection, f"DELETE FROM {name} WHERE {condition}", rows)  # noqa: S608 names of our own tables


def _many(connection: Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    with _cursor(connection) as cursor:
        cursor.executemany(sql if connection.dialect.name == "sqlite" else sql.replace("?", "%s"), rows)


def insert_rows(connection: Connection, name: str, rows: list[tuple[Any, ...]]) -> None:
    """The bulk of all writing: COPY on PostgreSQL, plain tuples on SQLite."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        _many(connection, _INSERTS[name], rows)
        return
    with _cursor(connection) as cursor, cursor.copy(f"COPY {name} ({', '.join(_COLUMNS[name])}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
