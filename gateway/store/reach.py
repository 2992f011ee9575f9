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
from typing import Any, LiteralString, Protocol

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.r4.canonical import decode
from gateway.store.compartment import PATIENT
from gateway.store.index import Indexer, ParamIds
from gateway.store.query import Chain, Filter, Has, Query
from gateway.store.reader import Reader
from gateway.store.sql import Sql, any_of, is_one_of, named_once, sql
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

_PARAM, _TARGET = Sql("param"), Sql("target")


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
        self._known: dict[object, Sql] = {}

    def _once(self, key: object, make: Callable[[], Sql]) -> Sql:
        """A selection that stands at the head of the statement, once however often it is asked for (``WITH``): nested in each other
        they would be deeper than SQLite's parser is."""
        if key not in self._known:
            selection = make()
            self._known[key] = sql("SELECT * FROM {}", named_once("bounds", len(self._known), selection))
        return self._known[key]

    @classmethod
    def read(cls, reader: Reader, group: str, param_ids: ParamIds) -> GroupFence:
        """Raises :class:`Rejected` (403) when there is no such Group: then nothing is to be seen."""
        row = reader.first(sql("SELECT rid, body FROM res WHERE type = 'Group' AND id = {} AND NOT deleted", group))
        if row is None:
            raise Rejected("the Group that this token is limited to is not there", status=403)
        rid, body = row
        named = [(_patient_id(member), member.get("inactive") is True) for member in _group_members(body)]
        gone = sorted({name for name, inactive in named if inactive})
        members = frozenset(name for name, _ in named) - set(gone) - {""}
        return cls(group, rid, members, gone, param_ids)

    def visible(self, kinds: Iterable[str]) -> Sql:
        """That a row of one of these types is seen."""
        wanted = frozenset(kinds)
        options: list[Sql] = []
        if "Patient" in wanted:
            options.append(sql("(res.type = 'Patient' AND res.id IN ({}))", self._member_rows()))
        if "Group" in wanted:
            options.append(sql("(res.type = 'Group' AND res.id = {})", self.group))
        if own := sorted(wanted & COMPARTMENT.keys() - {"Provenance"}):
            others = self._others(own, _ABOUT_ONE)
            options.append(sql("(res.rid IN ({}) AND res.rid NOT IN ({}))", self._own(own), others))
        if "Provenance" in wanted:
            options.append(self._vouched())
        if same := sorted(wanted & DEFINITIONS):
            options.append(is_one_of(Sql("res.type"), same))
        options += [self._named(kind) for kind in sorted(wanted - COMPARTMENT.keys() - DEFINITIONS - _NEVER)]
        return any_of(options)

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

    def _member_rows(self) -> Sql:
        """The ids of the members. Membership may have ended: such members stay in the index, so they are named and left out."""
        return self._once("members", self._active)

    def _active(self) -> Sql:
        return sql(
            "SELECT target FROM ref WHERE param = {} AND kind = 'Patient' AND rid = {} AND NOT ({})",
            self._ids["Group", "member"],
            self._rid,
            is_one_of(_TARGET, self._gone),
        )

    def _own(self, kinds: Sequence[str]) -> Sql:
        return self._once(("own", *kinds), lambda: self._owned(kinds))

    def _owned(self, kinds: Sequence[str]) -> Sql:
        """What is about a member; and what names one otherwise (as its performer) and is about nobody else.

        Two selections, so that the many that are about somebody outside are looked at only where there is something of the second kind.
        """
        pairs = [(kind, code) for kind in kinds for code in COMPARTMENT[kind] if (kind, code) in self._ids]
        about = self._params(pair for pair in pairs if pair[1] in _ABOUT_ONE)
        beside = self._params(pair for pair in pairs if pair[1] not in _ABOUT_ONE)
        members = self._member_rows()
        return sql(
            "SELECT rid FROM ref WHERE {} AND kind = 'Patient' AND target IN ({}) UNION ALL "
            "SELECT rid FROM ref WHERE {} AND kind = 'Patient' AND target IN ({}) "
            "AND rid NOT IN (SELECT rid FROM ref WHERE {} AND kind = 'Patient' AND target NOT IN ({}))",
            about, members, beside, members, about, members,
        )  # fmt: skip

    def _params(self, pairs: Iterable[tuple[str, str]]) -> Sql:
        return is_one_of(_PARAM, [self._ids[pair] for pair in pairs])

    def _others(self, kinds: Sequence[str], without: Collection[str] = ()) -> Sql:
        """What names a patient outside. :meth:`shows` would hide it too, but counts, pages and chains would tell that it is there."""
        pairs = [
            (kind, code) for kind, code in self._ids if kind in kinds and code not in without and _may_name(kind, code, "Patient")
        ]
        pattern: LiteralString = "SELECT rid FROM ref WHERE {} AND kind = 'Patient' AND target NOT IN ({})"
        return self._once(("others", *pairs), lambda: sql(pattern, self._params(pairs), self._member_rows()))

    def _own_ids(self) -> Sql:
        """(type, id) of the members and of what stands in their compartments, Provenance aside."""
        return self._once("own ids", self._owned_ids)

    def _owned_ids(self) -> Sql:
        own = self._own(sorted(COMPARTMENT.keys() - {"Provenance"}))
        pattern: LiteralString = "SELECT type, id FROM res WHERE rid IN ({}) OR (type = 'Patient' AND id IN ({}))"
        return sql(pattern, own, self._member_rows())

    def _vouched(self) -> Sql:
        """A Provenance that is about something of ours, and about nothing of a patient that is not."""
        targets = sql("param = {}", self._ids["Provenance", "target"])
        ours = sql("SELECT rid FROM ref WHERE {} AND (kind, target) IN ({})", targets, self._own_ids())
        about_people = is_one_of(Sql("kind"), sorted(COMPARTMENT.keys() | {"Patient", "Group"}))
        others = sql("SELECT rid FROM ref WHERE {} AND {} AND (kind, target) NOT IN ({})", targets, about_people, self._own_ids())
        return sql(
            "(res.type = 'Provenance' AND res.rid IN ({}) AND res.rid NOT IN ({}) AND res.rid NOT IN ({}))",
            self._once("vouched", lambda: ours),
            self._once("not vouched", lambda: others),
            self._others(["Provenance"]),
        )

    def _named(self, kind: str) -> Sql:
        """A thing that is nobody's, named by a resource of ours."""
        pairs = [
            (source, code)
            for source, code in self._ids
            if source in COMPARTMENT and source != "Provenance" and _may_name(source, code, kind)
        ]
        own = self._own(sorted(COMPARTMENT.keys() - {"Provenance"}))
        pattern: LiteralString = "SELECT target FROM ref WHERE {} AND kind = {} AND rid IN ({})"
        named = self._once(("named", kind), lambda: sql(pattern, self._params(pairs), kind, own))
        return sql("(res.type = {} AND res.id IN ({}) AND res.rid NOT IN ({}))", kind, named, self._others([kind]))


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
