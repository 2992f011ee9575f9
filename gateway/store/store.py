"""The embedded FHIR R4 store as other rooms see it: write a transaction, read, look back, search."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.canonical import decode
from gateway.store import dates, history, search, writer
from gateway.store.bundle import ID, Change, read_transaction
from gateway.store.compartment import compartment, everything
from gateway.store.export import QUERY_SECS as EXPORT_SECS
from gateway.store.export import Exporter
from gateway.store.history import HistoryPage, HistoryQuery
from gateway.store.index import Indexer, ParamIds, fingerprint, wanted_parameters
from gateway.store.limits import QUERY_SECS, QUERY_SECS_OF_WRITERS, limited
from gateway.store.operations import Criteria, Operation, Planned, plan
from gateway.store.predicates import Scope
from gateway.store.query import Query, parse
from gateway.store.reach import EVERYTHING, Fence, Reach
from gateway.store.reader import Reader, Readers
from gateway.store.search import Page
from gateway.store.sight import read_sight
from gateway.store.stored import Stored
from gateway.store.tables import INDEX_TABLES, INDEXED, PARAM, RES
from gateway.store.writer import Outcome

_MIGRATIONS = Path(__file__).parent / "migrations"
#: The parameter with the most rows, one per image: sites that search by study and series alone may leave it out.
_INSTANCE = ("ImagingStudy", "instance")
_REINDEX_BATCH = 500


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class FhirStore:
    """FHIR R4 resources in one database. Safe to use from several threads and processes; each thread has its own connection.

    ``timezone`` is how dates without a zone are read; ``index_instances`` keeps ImagingStudy searchable by SOP Instance UID;
    ``query_secs`` is how long a search may take before it is refused.
    Opening creates or migrates the tables. Raises :class:`~gateway.errors.Misconfigured` for a URL that cannot be used and
    :class:`~gateway.errors.Retryable` when the database cannot be reached; so do all other methods for the latter.
    """

    def __init__(
        self,
        url: str,
        *,
        timezone: str = "Europe/Brussels",
        index_instances: bool = True,
        query_secs: float = QUERY_SECS,
        clock: Callable[[], dt.datetime] = _utc_now,
    ) -> None:
        self._database = Database(url)
        if self._database.dialect == "sqlite":
            sa.event.listen(self._database.engine, "connect", _give_room)
        self._clock = clock
        self._query_secs = query_secs
        self._zone = ZoneInfo(timezone)
        self._write_lock = threading.Lock()  # SQLite would make the threads of one process wait by polling
        self._database.migrate(_MIGRATIONS)
        self._readers = Readers(self._database)
        left_out = () if index_instances else (_INSTANCE,)
        with self._database.write() as connection:
            writer.lock_writers(connection)
            self._param_ids = _number_parameters(connection)
            self._indexer = Indexer(self._param_ids, self._zone, left_out=left_out)
            _reindex_if_needed(connection, self._indexer, fingerprint(self._zone, left_out))

    def transact(self, bundle: Mapping[str, Any]) -> JsonObject:
        """Do a transaction bundle of ``PUT Type/id`` and ``DELETE Type/id``: all of it, or nothing.

        A PUT of what is already there makes no new version. Answers a Bundle of type transaction-response, its entries in
        the order of the request. Raises :class:`~gateway.errors.Rejected` (status 400, or 412 for a version that is not
        the current one).
        """
        with writer.uncollected():
            return self._transact(bundle)

    def _transact(self, bundle: Mapping[str, Any]) -> JsonObject:
        prepared = writer.hashed(read_transaction(bundle))
        with self._database.read() as connection:
            known = writer.unchanged(connection, prepared)
        if len(known) == len(prepared):  # a repeated delivery costs no lock and no write
            return _transaction_response([known[item.change.identity] for item in prepared])
        prepared = [item if item.change.identity in known else writer.indexed(item, self._indexer) for item in prepared]
        with self._write_lock, self._database.write() as connection:
            writer.lock_writers(connection)  # the time is taken in the order of the commits: an export stops at a time
            now = dates.from_datetime(self._clock())
            outcomes = writer.write(connection, prepared, self._indexer, now)
        return _transaction_response(outcomes)

    def write(
        self,
        operations: Sequence[Operation],
        *,
        by: str,
        base: str = "",
        then: Callable[[Connection], None] = lambda _: None,
    ) -> list[Outcome]:
        """Do what somebody who is not this gateway asks, all of it or nothing: what became of each operation, in their order.

        ``by`` is his name, never empty. ``base`` is the address under which he sees the store. ``then`` looks at what was written before it
        is final; what it raises undoes everything. Raises :class:`~gateway.errors.Rejected`: 400, 409 for what the gateway published
        itself, 412 and 422.
        """
        assert by  # noqa: S101 - the empty name is this gateway's own
        with self._write_lock, self._database.write() as connection:
            writer.lock_writers(connection)  # criteria are judged after it: of two who ask the same one comes second
            with limited(connection, self._query_secs):
                planned = plan(operations, lambda kind, criteria: self._matching(connection, kind, criteria, base), base)
            now = dates.from_datetime(self._clock())
            changes = [item.change() for item in planned if item.id and item.kept is None]
            prepared = [writer.indexed(item, self._indexer) for item in writer.hashed(changes)]
            done = iter(writer.write(connection, prepared, self._indexer, now, by=by))
            outcomes = [_outcome(item, now) or next(done) for item in planned]
            then(connection)
        return outcomes

    def _matching(self, connection: Connection, kind: str, criteria: Criteria, base: str) -> list[Stored]:
        """At most two. A parameter that is not known is an error here: criteria that are ignored match everything."""
        query = dataclasses.replace(parse(kind, criteria, strict=True), count=2, total="none")
        scope = Scope(self._param_ids, self._zone, self._clock(), base)
        return [entry.stored for entry in search.run(Reader.within(connection), query, scope, None).entries]

    def read(self, kind: str, logical_id: str, *, reach: Reach = EVERYTHING) -> Stored | None:
        """The current version (``deleted`` may be set), or ``None`` when there never was one within ``reach``."""
        if not ID.fullmatch(logical_id) or not reach.may_read(kind):
            return None
        with self._reading() as reader:
            return search.read(reader, kind, logical_id, self._fence(reader, reach))

    def vread(self, kind: str, logical_id: str, version: int, *, reach: Reach = EVERYTHING) -> Stored | None:
        """One version, current or earlier."""
        current = self.read(kind, logical_id, reach=reach)
        if current is None or current.version == version:
            return current
        with self._reading() as reader:
            fence = self._fence(reader, reach)
            found = history.version(reader, kind, logical_id, version)
        seen = found and (fence is None or fence.shows_version(kind, logical_id, found.body, self._indexer, current=False))
        return found if seen else None

    def history(self, kind: str, logical_id: str) -> list[Stored]:
        """Every version of one resource, the newest first; empty when there never was one."""
        if not ID.fullmatch(logical_id):
            return []
        return list(self.history_page(HistoryQuery(type=kind, id=logical_id, count=2**31)).versions)

    def history_page(self, query: HistoryQuery, *, reach: Reach = EVERYTHING) -> HistoryPage:
        """One page of the versions of a resource, of a type, or of everything. Raises :class:`~gateway.errors.Rejected` (400)."""
        with self._reading() as reader:
            fence = self._fence(reader, reach)
            if fence is None:
                return history.run(reader, query)

            def keeps(stored: Stored, current: bool) -> bool:
                return fence.shows_version(stored.type, stored.id, stored.body, self._indexer, current=current)

            return history.run(reader, query, history.Bounds(fence.visible, keeps))

    def search(
        self,
        kind: str,
        parameters: Sequence[tuple[str, str]],
        *,
        strict: bool = False,
        base: str = "",
        patient: str | None = None,
        reach: Reach = EVERYTHING,
    ) -> Page:
        """One page of a search (R4 search.html); ``_page`` among the parameters continues an earlier one. With ``patient`` only
        what is in the compartment of that Patient.

        ``base`` is the address under which the client sees the store. Raises :class:`~gateway.errors.Rejected` (400) for a
        value in the wrong form and, when ``strict``, for a parameter that is not known; else such a one is ignored with a
        warning; 403 when the question goes beyond ``reach``.
        """
        if patient is not None and not ID.fullmatch(patient):
            raise Rejected("there is no such Patient", status=404)
        query = self._asked(kind, parameters, reach, strict=strict)
        if patient is not None:
            query = dataclasses.replace(query, filters=(*query.filters, compartment(patient, kind)))
        return self._run(query, parameters, base, reach)

    def search_in(
        self,
        connection: Connection,
        kind: str,
        parameters: Sequence[tuple[str, str]],
        *,
        base: str = "",
        reach: Reach = EVERYTHING,
    ) -> Page:
        """As :meth:`search`, in a transaction that is open (``then`` of :meth:`write`): what it wrote is there. Others wait meanwhile."""
        query = self._asked(kind, parameters, reach)
        with limited(connection, min(self._query_secs, QUERY_SECS_OF_WRITERS)):
            return self._page(Reader.within(connection), query, parameters, base, reach)

    @staticmethod
    def _asked(kind: str, parameters: Sequence[tuple[str, str]], reach: Reach, *, strict: bool = False) -> Query:
        if not reach.may_search(kind):
            raise Rejected(f"this token may not search {kind}", status=403)
        return parse(kind, parameters, strict=strict)

    def everything(
        self, patient: str, parameters: Sequence[tuple[str, str]], *, base: str = "", reach: Reach = EVERYTHING
    ) -> Page | None:
        """One page of what there is about a patient (``Patient/$everything``), or ``None`` when there is no such patient.

        Understands ``_since``, ``_type``, ``start``, ``end`` and ``_count``. Raises :class:`~gateway.errors.Rejected` (400).
        """
        found = self.read("Patient", patient, reach=reach) if ID.fullmatch(patient) else None
        if found is None or found.deleted:
            return None
        query = everything(patient, parameters)
        query = dataclasses.replace(query, types=tuple(kind for kind in query.types if reach.may_read(kind)))
        return self._run(query, parameters, base, reach)

    def _run(self, query: Query, parameters: Sequence[tuple[str, str]], base: str, reach: Reach) -> Page:
        with self._reading() as reader:
            return self._page(reader, query, parameters, base, reach)

    def _page(self, reader: Reader, query: Query, parameters: Sequence[tuple[str, str]], base: str, reach: Reach) -> Page:
        start = next((value for name, value in parameters if name == "_page"), None)
        fence = self._fence(reader, reach)
        scope = Scope(self._param_ids, self._zone, self._clock(), base, fence.visible if fence else None)
        return search.run(reader, query, scope, start, reach, fence)

    def _fence(self, reader: Reader, reach: Reach) -> Fence | None:
        if reach.group is None and not reach.only:
            return None
        return read_sight(reader, reach, Scope(self._param_ids, self._zone, self._clock(), ""))

    def exporter(self, reach: Reach = EVERYTHING, *, in_a_hurry: bool = False) -> Exporter:
        """Reads many resources at once: for bulk export and tables. ``in_a_hurry``: somebody waits, as for a search."""
        seconds = self._query_secs if in_a_hurry else EXPORT_SECS
        return Exporter(self._database, self._param_ids, self._indexer, self._zone, self._clock, reach, seconds)

    def _reading(self) -> AbstractContextManager[Reader]:
        """A view in which no statement runs longer than a client may make it. Raises :class:`~gateway.errors.Rejected` (400)."""
        return self._readers.reading(self._query_secs)

    def counts(self) -> dict[str, int]:
        """Number of resources by type, without deleted ones."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(RES.c.type, sa.func.count()).where(sa.not_(RES.c.deleted)).group_by(RES.c.type))
            return {row[0]: row[1] for row in sorted(rows.all())}

    def close(self) -> None:
        self._readers.close()
        self._database.close()


def _give_room(connection: Any, _record: object) -> None:
    """A transaction of fifty Observations changes nine hundred pages, and the next one many of them again: so they are kept (16 MB), and
    copied from the log to their places every 64 MB instead of every 4."""
    for pragma in ("cache_size=-16384", "wal_autocheckpoint=16000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _outcome(item: Planned, now: int) -> Outcome | None:
    """Of an operation that has nothing to write: what it found, or that it found nothing."""
    if item.kept is not None:
        found = item.kept
        return Outcome(Change("PUT", found.type, found.id, None), "200 OK", found.version, found.updated)
    return None if item.id else Outcome(item.change(), "204 No Content", 0, now)


def _transaction_response(outcomes: Sequence[writer.Outcome]) -> JsonObject:
    answer: JsonObject = {"resourceType": "Bundle", "type": "transaction-response"}
    if outcomes:
        answer["entry"] = [{"response": _response(outcome)} for outcome in outcomes]
    return answer


def _response(outcome: writer.Outcome) -> JsonObject:
    answer = {"status": outcome.status}
    if outcome.version:
        change = outcome.change
        answer["location"] = f"{change.type}/{change.id}/_history/{outcome.version}"
        answer["etag"] = f'W/"{outcome.version}"'
        answer["lastModified"] = dates.as_instant(outcome.updated)
    return answer


def _number_parameters(connection: Connection) -> ParamIds:
    """The parameter numbers of this database; new parameters get new numbers, old ones keep theirs."""
    known = {(row.type, row.code): row.id for row in connection.execute(sa.select(PARAM))}
    free = max(known.values(), default=0) + 1
    missing = [pair for pair in wanted_parameters() if pair not in known]
    fresh = {pair: number for number, pair in enumerate(missing, start=free)}
    if fresh:
        rows = [{"id": number, "type": kind, "code": code} for (kind, code), number in fresh.items()]
        connection.execute(sa.insert(PARAM), rows)
    return {**known, **fresh}


def _reindex_if_needed(connection: Connection, indexer: Indexer, wanted: str) -> None:
    """Make the index anew when it was made by other search definitions or for another zone."""
    if connection.execute(sa.select(INDEXED.c.fingerprint)).scalar() == wanted:
        return
    for table in INDEX_TABLES.values():
        connection.execute(sa.delete(table))
    last = 0
    while True:
        rows = connection.execute(sa.select(RES).where(RES.c.rid > last).order_by(RES.c.rid).limit(_REINDEX_BATCH)).all()
        if not rows:
            break
        last = rows[-1].rid
        _index_rows(connection, indexer, rows)
    connection.execute(sa.delete(INDEXED))
    connection.execute(sa.insert(INDEXED).values(fingerprint=wanted))


def _index_rows(connection: Connection, indexer: Indexer, rows: Sequence[Any]) -> None:
    gathered: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        if row.deleted or row.type not in definitions.resource_types():
            continue
        for table, entries in indexer.rows(decode(writer.decompress(row.body))).items():
            gathered.setdefault(table, []).extend((*entry, row.rid) for entry in entries)
    for table, entries_of_table in gathered.items():
        writer.insert_rows(connection, table, entries_of_table)
