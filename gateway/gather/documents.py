"""Reports and tables of a patient: which of them stand, and which another one has taken the place of.

A structured report names its predecessors (PS3.3 C.17.2, Predecessor Documents Sequence). It takes their place when it is the same
kind of document, but an unverified one does not displace a verified one: it waits, and somebody is told. A function of the whole set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.gather.choose import canonical
from gateway.gather.readings import Source, source_of
from gateway.model import Issue, JsonObject, Severity, SharedFields
from gateway.nuclear.results import is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One document as a record tells it. ``key`` is its SOP Instance UID, or what else names it for good."""

    key: str
    shared: SharedFields
    rank: Source
    line: tuple[str, ...] = ()  #: itself and every predecessor that is known or named, the oldest last
    superseded: bool = False
    waits: bool = False  #: an unverified correction of a verified document
    issues: tuple[Issue, ...] = ()

    @property
    def fields(self) -> JsonObject:
        return self.shared.document

    @property
    def verified(self) -> bool:
        return is_final(self.fields)

    @property
    def stands(self) -> bool:
        return not (self.superseded or self.waits)


@dataclass(slots=True)
class _Lines:
    """Who follows whom, by keys."""

    before: Mapping[str, tuple[str, ...]]
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, key: str) -> tuple[str, ...]:
        """A document and all before it, nearest first; each once, so that a circle ends."""
        if key not in self.found:
            line: dict[str, None] = {key: None}
            queue = list(self.before.get(key, ()))
            while queue:
                name = queue.pop(0)
                if name not in line:
                    line[name] = None
                    queue += self.before.get(name, ())
            self.found[key] = tuple(line)
        return self.found[key]


def documents(records: Sequence[SharedFields]) -> list[Told]:
    """Every document of the records, in the order of their keys, with what became of it."""
    told = {_key(shared): shared for shared in sorted(records, key=lambda one: one.key) if shared.document or shared.results}
    lines = _Lines({key: tuple(sorted(map(str, shared.document.get("predecessors", ())))) for key, shared in told.items()})
    plain = {key: Told(key=key, shared=shared, rank=source_of(shared), line=lines.of(key)) for key, shared in told.items()}
    superseded, waits = _places(plain, lines)
    return [
        replace(one, superseded=key in superseded, waits=key in waits - superseded, issues=_told(key in waits - superseded))
        for key, one in sorted(plain.items())
    ]


def standing(records: Sequence[SharedFields], told: Iterable[Told]) -> list[SharedFields]:
    """The records without the facts of documents that do not stand."""
    fallen = {one.shared.key for one in told if not one.stands}
    return [replace(shared, administrations=(), results=()) if shared.key in fallen else shared for shared in records]


def _key(shared: SharedFields) -> str:
    uid = shared.document.get("uid")
    if uid:
        return str(uid)
    # Headers are no documents of their own: those of a series that tell the same are one teller.
    told = hashlib.sha256(canonical([dict(shared.document), list(shared.results)])).hexdigest()[:16]
    return f"{shared.study.get('uid', '')}|{shared.series.get('uid', '')}|{shared.mapping}|{told}"


def _places(plain: Mapping[str, Told], lines: _Lines) -> tuple[set[str], set[str]]:
    superseded: set[str] = set()
    waits: set[str] = set()
    for one in plain.values():
        for name in one.line[1:]:
            former = plain.get(name)
            if former is None or not _same_kind(one, former) or one.key in lines.of(name):
                continue
            if former.verified and not one.verified:
                waits.add(one.key)
            else:
                superseded.add(name)
    return superseded, waits


def _same_kind(one: Told, other: Told) -> bool:
    return one.rank is other.rank and all(
        one.fields.get(name) == other.fields.get(name)
        for name in ("class_uid", "kind")
        if name in one.fields and name in other.fields
    )


def _told(waits: bool) -> tuple[Issue, ...]:
    if not waits:
        return ()
    reason = (
        "Corrects a verified document and is not verified itself: the verified one stays published until this one is verified."
    )
    return (Issue(field="document", reason=reason, severity=Severity.WARNING),)
