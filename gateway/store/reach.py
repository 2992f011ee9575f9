"""How far one who asks can see: which types he may read and search, and whether only the patients of one Group.

The rule for a Group. Seen are its patients (members that are not inactive), what stands in the compartment of one of them, the Group
itself, the definitions, and what such a resource names directly and is about nobody (device, medication, organisation ...);
a Provenance only when all that it is about is seen. Whatever names a patient outside the Group is not seen, whatever else it says.
Every condition of a search is asked within these bounds, also those of chains, ``_has`` and includes, so that neither an
answer nor its absence tells of others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.r4.canonical import decode
from gateway.store.compartment import PATIENT
from gateway.store.index import Indexer, ParamIds
from gateway.store.query import Chain, Filter, Has, Query
from gateway.store.tables import REF, RES
from gateway.store.writer import decompress

#: The Patient compartment without the Patient itself, and without Groups, which would tell of others.
COMPARTMENT: Mapping[str, tuple[str, ...]] = {kind: codes for kind, codes in PATIENT.items() if kind not in ("Group", "Patient")}
#: They speak of no patient and are the same for everybody.
DEFINITIONS = frozenset({"CapabilityStatement", "CodeSystem", "SearchParameter", "StructureDefinition", "ValueSet"})
#: Parameters of what a resource is about: one patient at most, in every type of the compartment but Provenance.
_ABOUT_ONE = ("subject", "patient")
#: They could hold anything.
_NEVER = frozenset({"Binary", "Bundle", "Group", "OperationOutcome", "Patient"})

#: A patient that a resource names; the store writes JSON without blanks.
_PATIENT = re.compile(rb'"reference":"(?:[^"]*/)?Patient[/?]([^"/?#|]*)')

Sql = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Reach:
    """``None`` stands for no limit: of Group, of types to read, of types to search. ``only``: types of which no more is seen than what one
    of these queries finds (:mod:`gateway.store.sight`).
    """

    group: str | None = None
    readable: frozenset[str] | None = None
    searchable: frozenset[str] | None = None
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def may_read(self, kind: str) -> bool:
        return self.readable is None or kind in self.readable

    def may_search(self, kind: str) -> bool:
        return self.searchable is None or kind in self.searchable

    def check_filters(self, filters: Iterable[Filter]) -> None:
        """A chain or ``_has`` asks about another type: that needs the right to search it. Raises :class:`Rejected` (403)."""
        for kind in sorted({kind for found in filters for kind in _asked_about(found)}):
            if not self.may_search(kind):
                reason = "which the search asks about; name the types of its chains, like subject:Patient.name"
                raise Rejected(f"this token may not search {kind}, {reason}", status=403)

    def check(self, query: Query) -> None:
        self.check_filters(query.filters)


EVERYTHING = Reach()


def _asked_about(found: Filter) -> Iterator[str]:
    if isinstance(found, Chain):
        for target, inner in found.targets:
            yield target
            yield from _asked_about(inner)
    elif isinstance(found, Has):
        yield found.source
        yield from _asked_about(found.inner)


class Fence(Protocol):
    """The bounds of one who asks, as conditions on rows of ``res`` and as a look at a body; :mod:`gateway.store.sight` makes it."""

    def visible(self, kinds: Iterable[str]) -> Sql:
        """That a row of one of these types is seen."""
        ...

    def shows(self, kind: str, logical_id: str, body: bytes) -> bool:
        """That a body names nobody outside. A second look at what the index let through: names can stand where no index looks."""
        ...

    def shows_version(self, kind: str, logical_id: str, body: bytes, indexer: Indexer, *, current: bool) -> bool:
        """That one version of a resource which is seen now is seen too: it may have been another patient's before."""
        ...


class GroupFence:
    """The bounds of one Group, as conditions on rows of ``res`` and as a look at a body."""

    def __init__(self, group: str, rid: int, members: frozenset[str], gone: Sequence[str], param_ids: ParamIds) -> None:
        self.group = group
        self.members = members
        self._rid = rid
        self._gone = gone
        self._ids = param_ids
        self._known: dict[object, sa.CTE] = {}

    def _once(self, key: object, make: Callable[[], sa.Select[Any] | sa.CompoundSelect[Any]]) -> sa.Select[Any]:
        """A selection that stands at the head of the statement, once however often it is asked for (``WITH``): nested in each other
        they would be deeper than SQLite's parser is."""
        if key not in self._known:
            self._known[key] = make().cte()
        return sa.select(*self._known[key].c)

    @classmethod
    def read(cls, connection: Connection, group: str, param_ids: ParamIds) -> GroupFence:
        """Raises :class:`Rejected` (403) when there is no such Group: then nothing is to be seen."""
        row = connection.execute(sa.select(RES).where(RES.c.type == "Group", RES.c.id == group, sa.not_(RES.c.deleted))).first()
        if row is None:
            raise Rejected("the Group that this token is limited to is not there", status=403)
        named = [(_patient_id(member), member.get("inactive") is True) for member in _group_members(row.body)]
        gone = sorted({name for name, inactive in named if inactive})
        members = frozenset(name for name, _ in named) - set(gone) - {""}
        return cls(group, row.rid, members, gone, param_ids)

    def visible(self, kinds: Iterable[str]) -> Sql:
        """That a row of one of these types is seen."""
        wanted = frozenset(kinds)
        options: list[Sql] = [sa.false()]
        if "Patient" in wanted:
            options.append(sa.and_(RES.c.type == "Patient", RES.c.id.in_(self._member_rows())))
        if "Group" in wanted:
            options.append(sa.and_(RES.c.type == "Group", RES.c.id == self.group))
        if own := sorted(wanted & COMPARTMENT.keys() - {"Provenance"}):
            options.append(sa.and_(RES.c.rid.in_(self._own(own)), RES.c.rid.not_in(self._others(own, _ABOUT_ONE))))
        if "Provenance" in wanted:
            options.append(self._vouched())
        if same := sorted(wanted & DEFINITIONS):
            options.append(RES.c.type.in_(same))
        options += [self._named(kind) for kind in sorted(wanted - COMPARTMENT.keys() - DEFINITIONS - _NEVER)]
        return sa.or_(*options)

    def shows(self, kind: str, logical_id: str, body: bytes) -> bool:
        """That a body names nobody outside. A second look at what the index let through: names can stand where no index looks."""
        if kind == "Patient":
            return logical_id in self.members
        if kind == "Group":
            return logical_id == self.group
        return all(found.decode(errors="replace") in self.members for found in _PATIENT.findall(body))

    def shows_version(self, kind: str, logical_id: str, body: bytes, indexer: Indexer, *, current: bool) -> bool:
        """That one version of a resource which is seen now is seen too: it may have been another patient's before."""
        if current:
            return self.shows(kind, logical_id, body)
        if not body or not self.shows(kind, logical_id, body):
            return False
        return kind == "Patient" or (kind != "Provenance" and bool(owners(decode(body), indexer) & self.members))

    def _member_rows(self) -> sa.Select[Any]:
        """The ids of the members. Membership may have ended: such members stay in the index, so they are named and left out."""
        return self._once("members", self._active)

    def _active(self) -> sa.Select[Any]:
        param = self._ids["Group", "member"]
        rows = sa.select(REF.c.target).where(REF.c.param == param, REF.c.kind == "Patient", REF.c.rid == self._rid)
        return rows.where(REF.c.target.not_in(self._gone)) if self._gone else rows

    def _own(self, kinds: Sequence[str]) -> sa.Select[Any]:
        return self._once(("own", *kinds), lambda: self._owned(kinds))

    def _owned(self, kinds: Sequence[str]) -> sa.CompoundSelect[Any]:
        """What is about a member; and what names one otherwise (as its performer) and is about nobody else.

        Two selections, so that the many that are about somebody outside are looked at only where there is something of the second kind.
        """
        about, beside = (
            sa.select(REF.c.rid).where(
                REF.c.param.in_([number for kind, code, number in self._compartment(kinds) if (code in _ABOUT_ONE) is is_about]),
                REF.c.kind == "Patient",
                REF.c.target.in_(self._member_rows()),
            )
            for is_about in (True, False)
        )
        subjects = [number for kind, code, number in self._compartment(kinds) if code in _ABOUT_ONE]
        others = sa.select(REF.c.rid).where(REF.c.param.in_(subjects), REF.c.kind == "Patient")
        return about.union_all(beside.where(REF.c.rid.not_in(others.where(REF.c.target.not_in(self._member_rows())))))

    def _compartment(self, kinds: Sequence[str]) -> list[tuple[str, str, int]]:
        return [(kind, code, self._ids[kind, code]) for kind in kinds for code in COMPARTMENT[kind] if (kind, code) in self._ids]

    def _others(self, kinds: Sequence[str], without: Collection[str] = ()) -> sa.Select[Any]:
        """What names a patient outside. :meth:`shows` would hide it too, but counts, pages and chains would tell that it is there."""
        params = [
            number
            for (kind, code), number in self._ids.items()
            if kind in kinds and code not in without and _may_name(kind, code, "Patient")
        ]
        named = sa.select(REF.c.rid).where(REF.c.param.in_(params), REF.c.kind == "Patient")
        return self._once(("others", *params), lambda: named.where(REF.c.target.not_in(self._member_rows())))

    def _own_ids(self) -> sa.Select[Any]:
        """(type, id) of the members and of what stands in their compartments, Provenance aside."""
        return self._once("own ids", self._owned_ids)

    def _owned_ids(self) -> sa.Select[Any]:
        table = RES.alias()
        kinds = sorted(COMPARTMENT.keys() - {"Provenance"})
        patients = sa.and_(table.c.type == "Patient", table.c.id.in_(self._member_rows()))
        return sa.select(table.c.type, table.c.id).where(sa.or_(table.c.rid.in_(self._own(kinds)), patients))

    def _vouched(self) -> Sql:
        """A Provenance that is about something of ours, and about nothing of a patient that is not."""
        param = self._ids["Provenance", "target"]
        target = sa.tuple_(REF.c.kind, REF.c.target)
        ours = sa.select(REF.c.rid).where(REF.c.param == param, target.in_(self._own_ids()))
        about_people = REF.c.kind.in_(sorted(COMPARTMENT.keys() | {"Patient", "Group"}))
        others = sa.select(REF.c.rid).where(REF.c.param == param, about_people, target.not_in(self._own_ids()))
        alien = RES.c.rid.not_in(self._others(["Provenance"]))
        vouched, not_vouched = self._once("vouched", lambda: ours), self._once("not vouched", lambda: others)
        return sa.and_(RES.c.type == "Provenance", RES.c.rid.in_(vouched), RES.c.rid.not_in(not_vouched), alien)

    def _named(self, kind: str) -> Sql:
        """A thing that is nobody's, named by a resource of ours."""
        params = [
            number
            for (source, code), number in self._ids.items()
            if source in COMPARTMENT and source != "Provenance" and _may_name(source, code, kind)
        ]
        kinds = sorted(COMPARTMENT.keys() - {"Provenance"})
        found = sa.select(REF.c.target).where(REF.c.param.in_(params), REF.c.kind == kind, REF.c.rid.in_(self._own(kinds)))
        named = self._once(("named", kind), lambda: found)
        return sa.and_(RES.c.type == kind, RES.c.id.in_(named), RES.c.rid.not_in(self._others([kind])))


def _may_name(source: str, code: str, kind: str) -> bool:
    parameter = definitions.search_parameters()[source].get(code)
    return parameter is not None and parameter.type == "reference" and (not parameter.targets or kind in parameter.targets)


def owners(resource: Mapping[str, Any], indexer: Indexer) -> set[str]:
    """The ids of the patients whose compartment holds a resource."""
    if resource["resourceType"] == "Patient":
        return {str(resource["id"])}
    return {
        target
        for code in COMPARTMENT.get(resource["resourceType"], ())
        for kind, target in indexer.references({**resource}, code)
        if kind == "Patient"
    }


def patients_named(kind: str, logical_id: str, body: bytes) -> set[str]:
    """The ids of the patients that a resource is about or names: for the record of who saw what."""
    named = {found.decode(errors="replace") for found in _PATIENT.findall(body)} if kind != "Group" else set()
    return named | ({logical_id} if kind == "Patient" else set())


def active_members(body: bytes) -> set[str]:
    """The ids of the patients of a Group, of its compressed body."""
    return {_patient_id(member) for member in _group_members(body) if member.get("inactive") is not True} - {""}


def _group_members(body: bytes) -> list[dict[str, Any]]:
    tree: dict[str, Any] = decode(decompress(body))
    found: list[dict[str, Any]] = tree.get("member", [])
    return found


def _patient_id(member: Mapping[str, Any]) -> str:
    kind, _, name = str(member.get("entity", {}).get("reference", "")).rpartition("/")
    return name if kind.rpartition("/")[2] == "Patient" else ""
