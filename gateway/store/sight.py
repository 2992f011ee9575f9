"""Scopes with a query: of some types one who asks sees only what a search finds. Together with the bounds of a Group they are his sight.

Every condition of a search, every reading, include, history and export is asked within it, as within a Group (:mod:`gateway.store.reach`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from gateway.errors import Rejected
from gateway.store.index import Indexer
from gateway.store.predicates import Scope, condition
from gateway.store.query import Chain, Filter, Has, parse
from gateway.store.reach import Fence, GroupFence, Reach
from gateway.store.reader import Reader
from gateway.store.sql import Sql, all_of, any_of, sql

_MOST_CONDITIONS = 20


class _AnyNumber(dict[tuple[str, str], int]):
    """Parameters of no database: for trying whether values have the form of their type."""

    def __missing__(self, key: tuple[str, str]) -> int:
        return 0


_TRIAL = Scope(_AnyNumber(), ZoneInfo("UTC"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "")


def narrowing(kind: str, query: str) -> tuple[Filter, ...]:
    """The conditions of such a query. Raises :class:`Rejected` (400) for what is none: a right must not be wider than it reads."""
    try:
        parameters = parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MOST_CONDITIONS
        )
    except ValueError as error:
        raise Rejected("the query of a scope is not name=value, with & between", status=400) from error
    filters = parse(kind, parameters, strict=True).filters
    if len(filters) != len(parameters) or any(isinstance(found, Chain | Has) for found in filters):
        raise Rejected("the query of a scope has search parameters of its own type with values, nothing else", status=400)
    for found in filters:
        condition(found, _TRIAL)
    return filters


@dataclass(frozen=True, slots=True)
class Sight:
    """What one sees who has bounds: those of a Group, and of some types only what his scopes' queries find."""

    group: GroupFence | None
    narrowed: Mapping[str, Sql]

    def visible(self, kinds: Iterable[str]) -> Sql:
        """That a row of one of these types is seen."""
        wanted = sorted(kinds)
        parts = [self.group.visible(wanted)] if self.group else []
        for kind in wanted:
            if kind in self.narrowed:
                of_kind = self.narrowed[kind]
                parts.append(of_kind if len(wanted) == 1 else sql("(res.type <> {} OR {})", kind, of_kind))
        return all_of(parts)

    def shows(self, kind: str, logical_id: str, body: bytes) -> bool:
        """As :meth:`GroupFence.shows`."""
        return self.group is None or self.group.shows(kind, logical_id, body)

    def shows_version(self, kind: str, logical_id: str, body: bytes, indexer: Indexer, *, current: bool) -> bool:
        """As :meth:`GroupFence.shows_version`. Whether an earlier version was what the query finds, no index tells: it is not shown."""
        if not current and kind in self.narrowed:
            return False
        return self.group is None or self.group.shows_version(kind, logical_id, body, indexer, current=current)


def read_sight(reader: Reader, reach: Reach, scope: Scope) -> Fence | None:
    """``None`` for one without bounds. Raises :class:`Rejected` (403) when his Group is not there."""
    group = GroupFence.read(reader, reach.group, scope.param_ids) if reach.group is not None else None
    if not reach.only:
        return group
    narrowed: dict[str, Sql] = {}
    for kind, queries in reach.only:
        found = any_of([all_of([condition(one, scope) for one in narrowing(kind, query)]) for query in queries])
        narrowed[kind] = all_of([narrowed[kind], found]) if kind in narrowed else found
    return Sight(group, narrowed)
