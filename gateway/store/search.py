"""Runs a :class:`~gateway.store.query.Query`: one page of matches, what is to be included with them, and the total.

Pages are cut by key and not by offset: the next page starts behind the last row shown, whatever is written in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.engine import Connection

from gateway.errors import Rejected
from gateway.store import dates
from gateway.store.asked import asked_of
from gateway.store.bookmarks import read_bookmark, write_bookmark
from gateway.store.bundle import ID
from gateway.store.included import Includer
from gateway.store.predicates import Scope
from gateway.store.query import Query, SortKey
from gateway.store.reach import EVERYTHING, Fence, Reach
from gateway.store.reader import Reader
from gateway.store.rows import TABLES
from gateway.store.sql import NOTHING, Sql, Value, all_of, is_one_of, listed, one_after_another, sql
from gateway.store.stored import COLUMNS, WIDTH, Row, Stored, as_stored

#: Of all bodies on one page, as JSON: a study of 500 images has 75 kB, and a page is held in memory, in XML several times.
MAX_PAGE_BYTES = 32 << 20

Mode = Literal["match", "include"]


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
    keys: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """What a search selects from, the number of the resource in it, and what must hold. ``is_plain``: one range of an index in the order of
    resources, quickly counted. ``dated``: the parameter whose one date of the resource stands there as ``low`` and ``high``."""

    table: Sql
    rid: Sql
    where: Sql
    is_plain: bool
    dated: str = ""


@dataclass(frozen=True, slots=True)
class _Key:
    """A value to sort by, what must be joined to ``res`` for it, and how it is called on the page."""

    value: Sql
    joined: Sql
    name: Sql
    is_descending: bool

    def order(self, column: Sql) -> Sql:
        return sql("{} DESC", column) if self.is_descending else column


def run(
    reader: Reader,
    query: Query,
    scope: Scope,
    start: str | None,
    reach: Reach = EVERYTHING,
    fence: Fence | None = None,
) -> Page:
    """One page of the answer, within ``reach``; ``fence`` stands for its Group.

    Raises :class:`Rejected`: 400 when ``start`` is no bookmark of such a search, 403 for a question about what is out of reach.
    """
    reach.check(query)
    mark = read_bookmark(start, _Bookmark) if start else None
    if mark and not _fits(mark, query.sort):
        raise Rejected("_page does not belong to this search", status=400)
    source = _source(query, scope)
    warnings = [f"unknown search parameter '{name}' was ignored" for name in query.ignored]
    if query.only_count:  # a count has no entries, so no room for warnings
        return Page((), _count(reader, source), None, (), query.used)
    rows, total = _matches(reader, query, scope, source, mark)
    shown, found = _fitting(rows[: query.count])
    following = None
    if len(rows) > len(shown) and shown:
        last = shown[-1]
        following = write_bookmark(_Bookmark(total, last[0], tuple(last[WIDTH : WIDTH + len(query.sort)])))
    matches = _shown(found, fence)
    entries = [Entry(stored, "match") for stored in matches]
    if query.includes:
        beside = Includer(reader, scope, reach, MAX_PAGE_BYTES).included(query.includes, matches, warnings)
        entries += [Entry(stored, "include") for stored in _shown(beside, fence)]
    return Page(tuple(entries), total, following, tuple(warnings), query.used)


def _source(query: Query, scope: Scope) -> _Source:
    asked = asked_of(query.filters, scope)
    if asked.rows:
        found, is_plain = sql("({}) AS found", asked.rows.source()), asked.rows.in_order and not asked.conditions
        return _Source(found, Sql("found.rid"), all_of(asked.conditions), is_plain, asked.dated)
    types = query.types or (query.type,)
    parts = [is_one_of(Sql("res.type"), types), Sql("NOT res.deleted"), *asked.conditions]
    if scope.within:
        parts.append(scope.within(types))
    return _Source(_RES, Sql("res.rid"), all_of(parts), len(parts) == 2)


def _fitting(rows: Sequence[Row]) -> tuple[Sequence[Row], list[Stored]]:
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


def _shown(found: list[Stored], fence: Fence | None) -> list[Stored]:
    return found if fence is None else [one for one in found if fence.shows(one.type, one.id, one.body)]


def _fits(mark: _Bookmark, sort: Sequence[SortKey]) -> bool:
    """As many values as there are keys, each of the type of its column: PostgreSQL compares no text with a number."""
    texts = [key.code == "_id" or key.kind in ("token", "string", "uri", "reference") for key in sort]
    return [isinstance(value, str) for value in mark.keys] == texts


def current(connection: Connection, kind: str, logical_id: str) -> Stored | None:
    """The current version (``deleted`` may be set) as an open transaction sees it, or ``None`` when there never was one."""
    return read(Reader.within(connection), kind, logical_id)


def read(reader: Reader, kind: str, logical_id: str, fence: Fence | None = None) -> Stored | None:
    """As :func:`current`, within bounds."""
    if not ID.fullmatch(logical_id):
        return None
    where = sql("res.type = {} AND res.id = {}", kind, logical_id)
    row = reader.first(sql("SELECT {} FROM res WHERE {}", COLUMNS, all_of([where, fence.visible([kind])]) if fence else where))
    stored = as_stored(row) if row else None
    return stored if stored is None or fence is None or fence.shows(kind, logical_id, stored.body) else None


def _matches(
    reader: Reader, query: Query, scope: Scope, source: _Source, mark: _Bookmark | None
) -> tuple[Sequence[Row], int | None]:
    """One row more than the page holds, and the total, which is counted on the first page; the others remember it.

    The bodies are read last, of the page alone: a sorter that carries those of all matches would read the whole store. What looks at all
    matches counts them in the same pass; a plain question stops where the page is full, and the page is the total when it is not.
    """
    keys = [_key(query.type, key, scope, source, number) for number, key in enumerate(query.sort)]
    counted = mark is None and query.total != "none"
    at_once = counted and (bool(keys) or not source.is_plain)
    rows = reader.rows(_statement(source, keys, mark, query.count + 1, with_total=at_once))
    if not counted:
        return rows, mark.total if mark else None
    if at_once:
        return rows, rows[0][-1] if rows else 0
    return rows, len(rows) if len(rows) <= query.count else _count(reader, source)


def _statement(source: _Source, keys: Sequence[_Key], mark: _Bookmark | None, limit: int, *, with_total: bool) -> Sql:
    """Rows of :data:`COLUMNS`, then the values sorted by, then the total."""
    named = [sql("{} AS {}", key.value, key.name) for key in keys]
    shown = [key.name for key in keys]
    if with_total:
        named.append(Sql("count(*) OVER () AS total"))
        shown.append(Sql("page.total"))
    order = [key.order(key.name) for key in keys]
    page = sql(
        "SELECT {} FROM {}{} WHERE {} ORDER BY {} LIMIT {}",
        listed([sql("{} AS rid", source.rid), *named]),
        source.table,
        one_after_another([key.joined for key in keys]),
        all_of([source.where, _behind(keys, mark, source.rid)]) if mark else source.where,
        listed([*order, source.rid]),
        limit,
    )
    return sql(
        "SELECT {} FROM ({}) AS page JOIN res ON res.rid = page.rid ORDER BY {}",
        listed([COLUMNS, *shown]),
        page,
        listed([*order, Sql("page.rid")]),
    )


def _count(reader: Reader, source: _Source) -> int:
    number: int = reader.rows(sql("SELECT count(*) FROM {} WHERE {}", source.table, source.where))[0][0]
    return number


_RES = Sql("res")
_NAMES = [(Sql("key0"), Sql("sort0")), (Sql("key1"), Sql("sort1")), (Sql("key2"), Sql("sort2"))]
#: What of an index is sorted by: its first column of values. Dates have their own way.
_SORTED = {
    "token": Sql("code"),
    "reference": Sql("target"),
    "string": Sql("folded"),
    "quantity": Sql("low"),
    "number": Sql("low"),
    "uri": Sql("value"),
}


def _key(kind: str, key: SortKey, scope: Scope, source: _Source, number: int) -> _Key:
    """The value to sort by; of several the lowest going up, the highest going down. What has none comes last."""
    name, table = _NAMES[number]
    if key.code in ("_id", "_lastUpdated"):
        column = Sql("res.id") if key.code == "_id" else Sql("res.updated")
        if source.table != _RES:
            column = sql("(SELECT {} FROM res WHERE res.rid = {})", column, source.rid)
        return _Key(column, NOTHING, name, key.descending)
    if key.code == source.dated:
        return _Key(Sql("found.high" if key.descending else "found.low"), NOTHING, name, key.descending)
    param = scope.param_ids[kind, key.code]
    if key.kind == "date":  # these have an index by resource
        # "+ 0": else SQLite takes the index that is in this order, and walks it until it meets the resource
        pick = Sql("max(high + 0)") if key.descending else Sql("min(low + 0)")
        own = sql("(SELECT {} FROM dat WHERE dat.param = {} AND dat.rid = {})", pick, param, source.rid)
        return _Key(sql("coalesce({}, {})", own, _behind_all(key)), NOTHING, name, key.descending)
    pick = sql("max({})" if key.descending else "min({})", _SORTED[key.kind])
    chosen = sql("SELECT rid, {} AS value FROM {} WHERE param = {} GROUP BY rid", pick, TABLES[key.kind], param)
    joined = sql(" LEFT JOIN ({}) AS {} ON {}.rid = {}", chosen, table, table, source.rid)
    return _Key(sql("coalesce({}.value, {})", table, _behind_all(key)), joined, name, key.descending)


def _behind_all(key: SortKey) -> Value:
    if key.kind == "date":
        return dates.EARLIEST - 1 if key.descending else dates.LATEST + 1
    if key.kind in ("quantity", "number"):
        return -1e308 if key.descending else 1e308
    return "" if key.descending else "\U0010ffff"


def _behind(keys: Sequence[_Key], mark: _Bookmark, rid: Sql) -> Sql:
    """Strictly after the bookmark, in an order whose directions may differ from key to key."""
    after = sql("{} > {}", rid, mark.rid)
    for key, value in reversed(list(zip(keys, mark.keys, strict=True))):
        beyond = "({} < {} OR ({} = {} AND {}))" if key.is_descending else "({} > {} OR ({} = {} AND {}))"
        after = sql(beyond, key.value, value, key.value, value, after)
    return after
