"""Runs a :class:`~gateway.store.query.Query`: one page of matches, what is to be included with them, and the total.

Pages are cut by key and not by offset: the next page starts behind the last row shown, whatever is written in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from gateway.errors import Rejected
from gateway.r4 import definitions
from gateway.r4.canonical import decode
from gateway.store import dates
from gateway.store.bookmarks import read_bookmark, write_bookmark
from gateway.store.bundle import ID
from gateway.store.index import Indexer
from gateway.store.predicates import Scope, conditions
from gateway.store.query import Include, Query, SortKey
from gateway.store.reach import EVERYTHING, Fence, Reach
from gateway.store.tables import DAT, INDEX_TABLES, REF, RES
from gateway.store.writer import decompress

MAX_INCLUDED = 5000
MAX_INCLUDE_ROUNDS = 4
#: Of all bodies on one page, as JSON: a study of 500 images has 75 kB, and a page is held in memory, in XML several times.
MAX_PAGE_BYTES = 32 << 20
_CHUNK = 500

Mode = Literal["match", "include"]
SortValue = str | int | float


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a resource as it was written."""

    type: str
    id: str
    version: int
    updated: int  #: microseconds since 1970, UTC
    deleted: bool
    body: bytes  #: JSON; empty when deleted

    def resource(self) -> dict[str, Any]:
        tree: dict[str, Any] = decode(self.body)
        return tree

    @property
    def last_updated(self) -> str:
        return dates.as_instant(self.updated)


@dataclass(frozen=True, slots=True)
class Entry:
    stored: Stored
    mode: Mode


@dataclass(frozen=True, slots=True)
class Page:
    """One page. ``total`` counts all matches (``None`` when not asked for); ``next`` is the opaque start of the next page."""

    entries: tuple[Entry, ...]
    total: int | None
    next: str | None
    warnings: tuple[str, ...]
    used: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Bookmark:
    """Where a page ended: the sort values and row of its last match."""

    total: int | None
    rid: int
    keys: tuple[SortValue, ...]


def run(
    connection: Connection,
    query: Query,
    scope: Scope,
    indexer: Indexer,
    start: str | None,
    reach: Reach = EVERYTHING,
    fence: Fence | None = None,
) -> Page:
    """One page of the answer, within ``reach``; ``fence`` stands for its Group.

    Raises :class:`Rejected`: 400 when ``start`` is no bookmark of such a search, 403 for a question about what is out of reach.
    """
    reach.check(query)
    kinds = RES.c.type.in_(query.types) if query.types else RES.c.type == query.type
    where = [kinds, sa.not_(RES.c.deleted), *conditions(query.filters, scope)]
    if scope.within:
        where.append(scope.within(query.types or (query.type,)))
    mark = read_bookmark(start, _Bookmark) if start else None
    if mark and not _fits(mark, query.sort):
        raise Rejected("_page does not belong to this search", status=400)
    warnings = [f"unknown search parameter '{name}' was ignored" for name in query.ignored]
    if query.only_count:  # a count has no entries, so no room for warnings
        number = connection.execute(sa.select(sa.func.count()).select_from(RES).where(*where)).scalar_one()
        return Page((), number, None, (), query.used)
    rows, total = _matches(connection, query, scope, where, mark)
    shown, found = _fitting(rows[: query.count])
    following = None
    if len(rows) > len(shown) and shown:
        following = write_bookmark(_Bookmark(total, shown[-1].rid, tuple(shown[-1][len(RES.columns) :][: len(query.sort)])))
    matches = _shown(found, fence)
    included = _shown(_included(connection, query, scope, indexer, matches, warnings, reach), fence)
    entries = [Entry(stored, "match") for stored in matches] + [Entry(stored, "include") for stored in included]
    return Page(tuple(entries), total, following, tuple(warnings), query.used)


def _fitting(rows: Sequence[Any]) -> tuple[Sequence[Any], list[Stored]]:
    """As many as have room on a page, one at least; the next page begins behind them."""
    found: list[Stored] = []
    size = 0
    for row in rows:
        stored = as_stored(row)
        size += len(stored.body)
        if found and size > MAX_PAGE_BYTES:
            break
        found.append(stored)
    return rows[: len(found)], found


def _shown(found: Sequence[Stored], fence: Fence | None) -> list[Stored]:
    return [one for one in found if fence is None or fence.shows(one.type, one.id, one.body)]


def _fits(mark: _Bookmark, sort: Sequence[SortKey]) -> bool:
    """As many values as there are keys, each of the type of its column: PostgreSQL compares no text with a number."""
    texts = [key.code == "_id" or key.kind in ("token", "string", "uri", "reference") for key in sort]
    return [isinstance(value, str) for value in mark.keys] == texts


def as_stored(row: Any) -> Stored:
    body = decompress(row.body) if row.body else b""
    return Stored(row.type, row.id, row.version, row.updated, row.deleted, body)


def current(connection: Connection, kind: str, logical_id: str) -> Stored | None:
    """The current version (``deleted`` may be set), or ``None`` when there never was one."""
    if not ID.fullmatch(logical_id):
        return None
    row = connection.execute(sa.select(RES).where(RES.c.type == kind, RES.c.id == logical_id)).first()
    return as_stored(row) if row else None


def _matches(
    connection: Connection, query: Query, scope: Scope, where: Sequence[ColumnElement[bool]], mark: _Bookmark | None
) -> tuple[Sequence[Any], int | None]:
    """One row more than the page holds, and the total. The bodies are read last, of the page alone: a sorter that carries those of all
    matches would read the whole store. The total is counted in the same pass, on the first page; the others remember it."""
    counted = mark is None and query.total != "none"
    source: sa.FromClause = RES
    keys: list[ColumnElement[Any]] = []
    for key in query.sort:
        column, joined = _sort_column(query.type, key, scope)
        keys.append(column)
        if joined is not None:
            source = source.outerjoin(joined, joined.c.rid == RES.c.rid)
    names = [f"key{number}" for number in range(len(keys))]
    named = [column.label(name) for name, column in zip(names, keys, strict=True)]
    total = [sa.func.count().over().label("total")] if counted else []
    found = sa.select(RES.c.rid, *named, *total)
    found = found.select_from(source).where(*where)
    if mark:
        found = found.where(_behind(query.sort, keys, mark))
    page = found.order_by(*_order(query.sort, named), RES.c.rid).limit(query.count + 1).subquery("page")
    shown = [page.c[name] for name in names]
    statement = sa.select(RES, *shown, *(page.c[one.name] for one in total)).join_from(page, RES, RES.c.rid == page.c.rid)
    rows = connection.execute(statement.order_by(*_order(query.sort, shown), page.c.rid)).all()
    if counted:
        return rows, rows[0].total if rows else 0
    return rows, mark.total if mark else None


def _order(sort: Sequence[SortKey], columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [column.desc() if key.descending else column.asc() for key, column in zip(sort, columns, strict=True)]


def _sort_column(kind: str, key: SortKey, scope: Scope) -> tuple[ColumnElement[Any], sa.Subquery | None]:
    """The value to sort by; of several the lowest going up, the highest going down. What has none comes last."""
    if key.code == "_id":
        return RES.c.id, None
    if key.code == "_lastUpdated":
        return RES.c.updated, None
    table = INDEX_TABLES[key.kind]
    column = DAT.c.high if key.kind == "date" and key.descending else list(table.columns)[1]
    pick = sa.func.max(column) if key.descending else sa.func.min(column)
    param = table.c.param == scope.param_ids[kind, key.code]
    if key.kind == "date":  # these have an index by resource
        # "+ 0": else SQLite takes the index that is in this order, and walks it until it meets the resource
        pick = sa.func.max(column + 0) if key.descending else sa.func.min(column + 0)
        own = sa.select(pick).where(param, table.c.rid == RES.c.rid).correlate(RES).scalar_subquery()
        return sa.func.coalesce(own, _behind_all(key)), None
    chosen = sa.select(table.c.rid, pick.label("value")).where(param).group_by(table.c.rid).subquery()
    return sa.func.coalesce(chosen.c.value, _behind_all(key)), chosen


def _behind_all(key: SortKey) -> SortValue:
    if key.kind == "date":
        return dates.EARLIEST - 1 if key.descending else dates.LATEST + 1
    if key.kind in ("quantity", "number"):
        return -1e308 if key.descending else 1e308
    return "" if key.descending else "\U0010ffff"


def _behind(sort: Sequence[SortKey], keys: Sequence[ColumnElement[Any]], mark: _Bookmark) -> ColumnElement[bool]:
    """Strictly after the bookmark, in an order whose directions may differ from key to key."""
    after: ColumnElement[bool] = RES.c.rid > mark.rid
    for key, column, value in reversed(list(zip(sort, keys, mark.keys, strict=True))):
        beyond = column < value if key.descending else column > value
        after = sa.or_(beyond, sa.and_(column == value, after))
    return after


def _included(
    connection: Connection,
    query: Query,
    scope: Scope,
    indexer: Indexer,
    matches: Sequence[Stored],
    warnings: list[str],
    reach: Reach,
) -> list[Stored]:
    not_told = "what is of types that this token may not read is not included"
    found: dict[tuple[str, str], Stored] = {}
    seen = {(stored.type, stored.id) for stored in matches}
    frontier = list(matches)
    size = sum(len(stored.body) for stored in matches)
    for round_number in range(MAX_INCLUDE_ROUNDS):
        fresh: list[Stored] = []
        for include in query.includes:
            if round_number and not include.iterate:
                continue
            step = _referring if include.reverse else _referred
            for stored in step(connection, include, scope, indexer, frontier, seen):
                if not reach.may_read(stored.type):
                    warnings += [] if not_told in warnings else [not_told]
                    continue
                seen.add((stored.type, stored.id))
                found[stored.type, stored.id] = stored
                fresh.append(stored)
                size += len(stored.body)
                if len(found) >= MAX_INCLUDED or size > MAX_PAGE_BYTES:
                    warnings.append(f"only the first {len(found)} included resources are shown; ask for smaller pages")
                    return list(found.values())
        frontier = fresh
        if not frontier:
            break
    return list(found.values())


def _referred(
    connection: Connection,
    include: Include,
    scope: Scope,
    indexer: Indexer,
    frontier: Sequence[Stored],
    seen: set[tuple[str, str]],
) -> Iterable[Stored]:
    """``_include``: what the resources point to."""
    wanted: dict[str, set[str]] = {}
    for stored in frontier:
        if include.source in ("*", stored.type):
            for kind, logical_id in indexer.references(stored.resource(), None if include.code == "*" else include.code):
                if (kind, logical_id) not in seen and include.target in (None, kind):
                    wanted.setdefault(kind, set()).add(logical_id)
    for kind, ids in sorted(wanted.items()):
        for part in _chunks(sorted(ids)):
            within = [scope.within([kind])] if scope.within else []
            yield from _select(connection, RES.c.type == kind, RES.c.id.in_(part), *within)


def _referring(
    connection: Connection,
    include: Include,
    scope: Scope,
    _indexer: Indexer,
    frontier: Sequence[Stored],
    seen: set[tuple[str, str]],
) -> Iterable[Stored]:
    """``_revinclude``: what points to the resources."""
    targets: dict[str, list[str]] = {}
    for stored in frontier:
        if include.target in (None, stored.type):
            targets.setdefault(stored.type, []).append(stored.id)
    params = [
        number
        for (kind, code), number in scope.param_ids.items()
        if include.source in ("*", kind) and include.code in ("*", code) and not code.endswith(":identifier")
    ]
    for kind, ids in targets.items():
        for part in _chunks(ids):
            rows = sa.select(REF.c.rid).where(REF.c.param.in_(params), REF.c.kind == kind, REF.c.target.in_(part))
            within = [scope.within(definitions.resource_types())] if scope.within else []
            for stored in _select(connection, RES.c.rid.in_(rows), *within):
                if (stored.type, stored.id) not in seen:
                    yield stored


def _select(connection: Connection, *where: ColumnElement[bool]) -> Iterable[Stored]:
    # "+ 0", and a look at "deleted" afterwards: else SQLite walks the index of all resources of the type, which is in this order
    statement = sa.select(RES).where(*where).order_by(RES.c.rid + 0).limit(MAX_INCLUDED)
    return (as_stored(row) for row in connection.execute(statement) if not row.deleted)


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
