"""Reads many resources at once, as they were at one moment: for bulk export and for tables.

First the row numbers that are wanted are gathered (8 bytes each), then the bodies are read in small groups. So memory does not
grow with the bodies, no read transaction stays open for long, and a resource that changes meanwhile is taken from its history.
"""

from __future__ import annotations

import datetime as dt
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from gateway.database import Database
from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.r4.canonical import decode
from gateway.store import dates
from gateway.store.bundle import ID
from gateway.store.index import Indexer, ParamIds
from gateway.store.limits import limited
from gateway.store.predicates import Scope, condition
from gateway.store.query import Filter, parse
from gateway.store.reach import COMPARTMENT, EVERYTHING, Fence, Reach, active_members, owners
from gateway.store.reader import Reader
from gateway.store.sight import read_sight
from gateway.store.sql import TRUE, Sql, all_of, any_of, for_driver, is_one_of, sql
from gateway.store.tables import HIST, RES
from gateway.store.writer import decompress, lock_writers

#: To find what is wanted: of a whole store, or by a search that nobody waits for.
QUERY_SECS = 600.0
_GROUP_ROWS = 500
_RIDS_AT_ONCE = 2_000

#: Types that speak of nobody but would tell who else is in a cohort, or are not data: never part of an export by patient.
_NEVER_BY_PATIENT = frozenset({"Group", "Bundle", "Binary", "OperationOutcome"})

Alternatives = tuple[tuple[Filter, ...], ...]


@dataclass(frozen=True, slots=True)
class Patients:
    """Whose resources are wanted: of every patient (``group`` is ``None``), or of the members of a Group."""

    group: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Resources of one type. ``alternatives``: any of them holds (none: all). Times are microseconds since 1970, UTC."""

    type: str
    until: int
    since: int | None = None
    alternatives: Alternatives = ()
    patients: Patients | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """One resource as it was: ``body`` is its JSON, without a line break in it."""

    type: str
    id: str
    body: bytes


def read_filter(kind: str, parameters: Sequence[tuple[str, str]]) -> tuple[Filter, ...]:
    """The conditions of a search. Raises :class:`Rejected` (400) for what is not one: an export must not be wider than asked."""
    filters = parse(kind, [*parameters], strict=True).filters
    if len(filters) != len(parameters):
        raise Rejected("only conditions narrow this: a parameter has no value, or is about pages, order or form", status=400)
    return filters


class Exporter:
    """Reads for exports from one store; made by :meth:`gateway.store.store.FhirStore.exporter`.

    Within a reach that is limited to a Group every export is one of that Group, whatever is wanted.
    """

    def __init__(
        self,
        database: Database,
        param_ids: ParamIds,
        indexer: Indexer,
        zone: ZoneInfo,
        clock: Callable[[], dt.datetime],
        reach: Reach = EVERYTHING,
        query_secs: float = QUERY_SECS,
    ) -> None:
        self._reach = reach
        self._query_secs = query_secs
        self._database = database
        self._param_ids = param_ids
        self._indexer = indexer
        self._zone = zone
        self._clock = clock

    def within(self, reach: Reach) -> Exporter:
        """The same for one who sees no further than that."""
        return Exporter(self._database, self._param_ids, self._indexer, self._zone, self._clock, reach, self._query_secs)

    def moment(self) -> int:
        """Now, when every transaction that wrote until now is committed and no other has begun; whatever is written next is later."""
        with self._database.write() as connection:
            lock_writers(connection)
            now = dates.from_datetime(self._clock())
            time.sleep(0.001)  # versions are told apart by milliseconds: the next writer must not find the clock in this one
            return now

    def types(self) -> list[str]:
        """The types of which the store ever held something."""
        with self._database.read() as connection:
            return sorted(connection.execute(sa.select(RES.c.type).distinct()).scalars())

    def is_in_reach(self, wanted: Wanted) -> bool:
        """Whether such an export can hold this type at all."""
        wanted = self._within(wanted)
        return (wanted.patients is None or wanted.type not in _NEVER_BY_PATIENT) and self._reach.may_read(wanted.type)

    def _within(self, wanted: Wanted) -> Wanted:
        if self._reach.group is None:
            return wanted
        if wanted.patients is not None and wanted.patients.group not in (None, self._reach.group):
            raise Rejected("there is no such Group", status=404)
        return replace(wanted, patients=Patients(self._reach.group))

    def _fence(self) -> Fence | None:
        with self._database.read() as connection:
            return read_sight(Reader.within(connection), self._reach, Scope(self._param_ids, self._zone, self._clock(), ""))

    def _is_narrowed(self, kind: str) -> bool:
        """A query tells what of it is seen, and what was before or is deleted stands in no index."""
        return any(kind == narrowed for narrowed, _ in self._reach.only)

    def group_exists(self, logical_id: str) -> bool:
        return self._reach.group in (None, logical_id) and self._group(logical_id) is not None

    def resources(self, wanted: Wanted) -> Iterator[Exported]:
        """Every resource wanted, once, in the order in which they were first written."""
        wanted = self._within(wanted)
        if not self.is_in_reach(wanted):
            return
        fence, narrowed = self._fence(), self._is_narrowed(wanted.type)
        for rows in self._groups(self._rids(wanted, deleted=False)):
            for row in rows:
                moment = row if narrowed else self._as_of(row, wanted.until)
                if moment is not None and not moment.deleted and (wanted.since is None or moment.updated > wanted.since):
                    body = decompress(moment.body)
                    if fence is None or fence.shows(row.type, row.id, body):
                        yield Exported(row.type, row.id, body)

    def patients(self, wanted: Wanted) -> set[str]:
        """The ids of the patients that the resources wanted are about."""
        return {owner for found in self.resources(wanted) for owner in owners(decode(found.body), self._indexer)}

    def deletions(self, wanted: Wanted) -> Iterator[tuple[str, str]]:
        """(type, id) of what was deleted since ``wanted.since``; nothing when no time is given."""
        wanted = self._within(wanted)
        if wanted.since is None or not self.is_in_reach(wanted) or self._is_narrowed(wanted.type):
            return
        members = self._members(wanted.patients) if wanted.patients else None
        for rows in self._groups(self._rids(wanted, deleted=True)):
            for row in rows:
                moment = self._as_of(row, wanted.until)
                if moment is None or not moment.deleted or moment.updated <= wanted.since:
                    continue
                if wanted.patients is None or self._was_of(row, wanted.patients, members):
                    yield row.type, row.id

    def _rids(self, wanted: Wanted, *, deleted: bool) -> array[int]:
        conditions = [sql("res.type = {}", wanted.type)]
        if wanted.since is not None:
            conditions.append(sql("res.updated > {}", wanted.since))
        if deleted:
            conditions.append(sql("(res.deleted OR res.updated > {})", wanted.until))
        else:
            conditions += self._restrictions(wanted)
        statement = sql("SELECT res.rid FROM res WHERE {} ORDER BY res.rid", all_of(conditions))
        found: array[int] = array("q")
        with self._database.read() as connection, limited(connection, self._query_secs):
            text, values = for_driver(statement, self._database.dialect)
            rows = connection.exec_driver_sql(text, values, execution_options={"yield_per": _RIDS_AT_ONCE})
            for part in rows.scalars().partitions(_RIDS_AT_ONCE):
                found.extend(part)
        return found

    def _restrictions(self, wanted: Wanted) -> Iterator[Sql]:
        fence = self._fence()
        scope = Scope(self._param_ids, self._zone, self._clock(), "", fence.visible if fence else None)
        if fence and self._is_narrowed(wanted.type):
            yield fence.visible([wanted.type])
        for part in wanted.alternatives:
            self._reach.check_filters(part)
        if wanted.alternatives:
            yield any_of([all_of([condition(item, scope) for item in part]) for part in wanted.alternatives])
        if wanted.patients is not None:
            yield self._of_patients(wanted.type, wanted.patients)

    def _of_patients(self, kind: str, patients: Patients) -> Sql:
        """In SQL: in the compartment of one of the patients; a shared thing (device, medication) when such a resource names it."""
        members = self._member_rows(patients)
        if kind == "Patient":
            return TRUE if members is None else sql("res.id IN ({})", members)
        if kind in COMPARTMENT:
            return sql("res.rid IN ({})", self._in_compartment((kind,), members))
        if members is None:
            return TRUE
        named = self._in_compartment(tuple(COMPARTMENT), members)
        return sql("res.id IN (SELECT target FROM ref WHERE kind = {} AND rid IN ({}))", kind, named)

    def _in_compartment(self, kinds: Sequence[str], members: Sql | None) -> Sql:
        params = [self._param_ids[kind, code] for kind in kinds for code in COMPARTMENT[kind] if (kind, code) in self._param_ids]
        named = sql("target IN ({})", members) if members else TRUE
        return sql("SELECT rid FROM ref WHERE {} AND kind = 'Patient' AND {}", is_one_of(Sql("param"), params), named)

    def _member_rows(self, patients: Patients) -> Sql | None:
        """The ids of the members as a selection; ``None`` stands for everybody."""
        if patients.group is None:
            return None
        group = self._group(patients.group)
        if group is None:
            raise Rejected("there is no such Group", status=404)
        # Membership may have ended: such members stay in the index, so they are named and left out.
        gone = [_patient_id(member) for member in group[1].get("member", ()) if member.get("inactive") is True]
        param, rid = self._param_ids["Group", "member"], group[0]
        rows = sql("param = {} AND kind = 'Patient' AND rid = {}", param, rid)
        return sql("SELECT target FROM ref WHERE {} AND NOT ({})", rows, is_one_of(Sql("target"), gone))

    def _members(self, patients: Patients) -> set[str] | None:
        rows = self._member_rows(patients)
        if rows is None:
            return None
        with self._database.read() as connection:
            return {target for (target,) in Reader.within(connection).rows(rows)}

    def all_are_members_still(self, group: str, moment: int) -> bool:
        """Whether nobody who was a member of the Group at that moment has left it since."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(RES).where(RES.c.type == "Group", RES.c.id == group)).first()
        if row is None or row.deleted:
            return False
        before = self._as_of(row, moment)
        return before is None or before.deleted or active_members(before.body) <= active_members(row.body)

    def _group(self, logical_id: str) -> tuple[int, dict[str, Any]] | None:
        if not ID.fullmatch(logical_id):
            return None
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(RES).where(RES.c.type == "Group", RES.c.id == logical_id, sa.not_(RES.c.deleted))
            ).first()
        return (row.rid, decode(decompress(row.body))) if row else None

    def _groups(self, rids: array[int]) -> Iterator[Sequence[sa.Row[Any]]]:
        for start in range(0, len(rids), _GROUP_ROWS):
            part = rids[start : start + _GROUP_ROWS].tolist()
            with self._database.read() as connection:
                rows = connection.execute(sa.select(RES).where(RES.c.rid.in_(part)).order_by(RES.c.rid)).all()
            yield rows

    def _as_of(self, row: sa.Row[Any], until: int) -> sa.Row[Any] | None:
        """The version that held at ``until``; ``None`` when the resource came later."""
        if row.updated <= until:
            return row
        newest = sa.select(HIST).where(HIST.c.rid == row.rid, HIST.c.updated <= until).order_by(HIST.c.version.desc()).limit(1)
        with self._database.read() as connection:
            return connection.execute(newest).first()

    def _was_of(self, row: sa.Row[Any], patients: Patients, members: set[str] | None) -> bool:
        """Whether a deleted resource belonged to one of the patients when it was last there."""
        if row.type == "Patient":
            return members is None or row.id in members
        if row.type not in COMPARTMENT:
            return members is None
        last = sa.select(HIST).where(HIST.c.rid == row.rid, sa.not_(HIST.c.deleted)).order_by(HIST.c.version.desc()).limit(1)
        with self._database.read() as connection:
            version = connection.execute(last).first()
        if version is None:
            return False
        found = owners(decode(decompress(version.body)), self._indexer)
        return bool(found) if members is None else bool(found & members)


def known_types() -> frozenset[str]:
    return frozenset(definitions.resource_types())


def _patient_id(member: Mapping[str, Any]) -> str:
    return str(member.get("entity", {}).get("reference", "")).rpartition("/")[2]
