"""What comes along with the matches of a search: ``_include`` and ``_revinclude``, again and again where ``:iterate`` asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.canonical import decode
from gateway.r4.expression import Extractor, compile_expression
from gateway.store import values
from gateway.store.predicates import Scope
from gateway.store.query import Include
from gateway.store.reach import Reach
from gateway.store.reader import Reader
from gateway.store.sql import TRUE, Sql, any_of, is_one_of, sql
from gateway.store.stored import COLUMNS, Stored, as_stored

MAX_INCLUDED = 5000
MAX_INCLUDE_ROUNDS = 4
_CHUNK = 500
_SHALLOW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOT_TOLD = "what is of types that this token may not read is not included"

Identity = tuple[str, str]
#: Where a resource has its own type and id, and where a reference says them.
_RESOURCE = Sql("res.type"), Sql("res.id")
_TARGET = Sql("kind"), Sql("target")


@dataclass(frozen=True, slots=True)
class Includer:
    """``most_bytes``: room on the page, as JSON, for the matches and what comes with them."""

    reader: Reader
    scope: Scope
    reach: Reach
    most_bytes: int

    def included(self, includes: Sequence[Include], matches: Sequence[Stored], warnings: list[str]) -> list[Stored]:
        """Each resource once, without the matches. What is left out is told in ``warnings``."""
        found: dict[Identity, Stored] = {}
        seen = {(stored.type, stored.id) for stored in matches}
        size = sum(len(stored.body) for stored in matches)
        frontier: Sequence[Stored] = matches
        for round_number in range(MAX_INCLUDE_ROUNDS):
            asked = [include for include in includes if include.iterate or not round_number]
            if not frontier or not asked:
                break
            fresh: list[Stored] = []
            for stored in self._of_round(asked, frontier, seen):
                if not self.reach.may_read(stored.type):
                    warnings += [] if _NOT_TOLD in warnings else [_NOT_TOLD]
                    continue
                seen.add((stored.type, stored.id))
                found[stored.type, stored.id] = stored
                fresh.append(stored)
                size += len(stored.body)
                if len(found) >= MAX_INCLUDED or size > self.most_bytes:
                    warnings.append(f"only the first {len(found)} included resources are shown; ask for smaller pages")
                    return list(found.values())
            frontier = fresh
        return list(found.values())

    def _of_round(self, includes: Sequence[Include], frontier: Sequence[Stored], seen: set[Identity]) -> Iterator[Stored]:
        """All that ``_include`` names is read at once, then what each ``_revinclude`` finds."""
        forward = [include for include in includes if not include.reverse]
        for part in _chunks(sorted(self._referred(forward, frontier) - seen)):
            yield from self._select(any_of(_named(part, _RESOURCE)), {kind for kind, _ in part})
        for include in includes:
            if include.reverse:
                yield from (stored for stored in self._referring(include, frontier) if (stored.type, stored.id) not in seen)

    @staticmethod
    def _referred(includes: Sequence[Include], frontier: Sequence[Stored]) -> set[Identity]:
        """``_include``: what the resources point to."""
        wanted: set[Identity] = set()
        for stored in frontier:
            asked = [include for include in includes if include.source in ("*", stored.type)]
            resource = _elements(stored.body, frozenset(include.code for include in asked), stored.type) if asked else {}
            for include in asked:
                named = _references(resource, _paths(stored.type, include.code))
                wanted.update(name for name in named if include.target in (None, name[0]))
        return wanted

    def _referring(self, include: Include, frontier: Sequence[Stored]) -> Iterator[Stored]:
        """``_revinclude``: what points to the resources."""
        targets = [(stored.type, stored.id) for stored in frontier if include.target in (None, stored.type)]
        params = self.scope.params(
            (kind, code)
            for kind, code in self.scope.param_ids
            if include.source in ("*", kind) and include.code in ("*", code) and not code.endswith(":identifier")
        )
        kinds = {include.source} if include.source != "*" else definitions.resource_types()
        for part in _chunks(sorted(targets)):
            for named in _named(part, _TARGET):
                yield from self._select(sql("res.rid IN (SELECT rid FROM ref WHERE {} AND {})", params, named), kinds)

    def _select(self, found: Sql, kinds: Iterable[str]) -> Iterator[Stored]:
        # "+ 0", and a look at "deleted" afterwards: else SQLite walks the index of all resources of the type, which is in this order
        bounds = self.scope.within(kinds) if self.scope.within else TRUE
        statement = sql("SELECT {} FROM res WHERE {} AND {} ORDER BY res.rid + 0 LIMIT {}", COLUMNS, found, bounds, MAX_INCLUDED)
        return (stored for row in self.reader.rows(statement) if not (stored := as_stored(row)).deleted)


@lru_cache(maxsize=1024)
def _paths(kind: str, code: str) -> tuple[Extractor, ...]:
    """Where the references of a parameter stand; of all parameters for ``*``."""
    return tuple(
        extractor
        for parameter in definitions.search_parameters()[kind].values()
        if parameter.type == "reference" and code in ("*", parameter.code)
        for extractor in compile_expression(parameter.expression, root=kind, elements=definitions.elements())
    )


@lru_cache(maxsize=1024)
def _keys(kind: str, codes: frozenset[str]) -> frozenset[str]:
    """The elements that hold these references; with an empty key when any may."""
    return frozenset(extractor.first_key for code in codes for extractor in _paths(kind, code))


def _elements(body: bytes, codes: frozenset[str], kind: str) -> JsonObject:
    """Of a resource what these references stand in: most of it is not read."""
    keys = _keys(kind, codes)
    if "" in keys:
        return dict(decode(body))
    told = _SHALLOW.decode(body)
    return {key: decode(bytes(told[key])) for key in keys if key in told}


def _references(resource: JsonObject, paths: Sequence[Extractor]) -> set[Identity]:
    """(type, id) of what is pointed to."""
    return {
        (kind, target)
        for path in paths
        for value in path.values(resource)
        for target, kind in values.references(path.kind, value)
        if kind
    }


def _named(names: Sequence[Identity], columns: tuple[Sql, Sql]) -> list[Sql]:
    """That a row is one of these, a condition for each type."""
    by_kind: dict[str, list[str]] = {}
    for kind, logical_id in names:
        by_kind.setdefault(kind, []).append(logical_id)
    return [sql("({} = {} AND {})", columns[0], kind, is_one_of(columns[1], ids)) for kind, ids in by_kind.items()]


def _chunks(names: Sequence[Identity]) -> Iterator[Sequence[Identity]]:
    return (names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK))
