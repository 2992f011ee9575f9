"""The versions of one resource, of one type or of the whole store, the newest first (R4 http.html#history).

Pages are cut by key, as those of a search: what is written meanwhile comes before the first page, and shifts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import LiteralString

import msgspec

from gateway.r4 import definitions
from gateway.store.bookmarks import read_bookmark, write_bookmark
from gateway.store.dates import EARLIEST
from gateway.store.reader import Reader
from gateway.store.sql import TRUE, Sql, all_of, sql
from gateway.store.stored import COLUMNS, WIDTH, Row, Stored, as_stored

#: As :data:`~gateway.store.stored.COLUMNS`, of an earlier version.
_EARLIER = Sql("res.rid, res.type, res.id, hist.version, hist.updated, hist.deleted, hist.body")

DEFAULT_COUNT = 50
MAX_COUNT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """What is asked. ``since`` is in microseconds since 1970; ``None`` stands for no limit."""

    type: str | None = None
    id: str | None = None
    since: int | None = None
    count: int = DEFAULT_COUNT
    start: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """One page. ``total`` counts all versions asked for; ``next`` is the opaque start of the next page."""

    versions: tuple[Stored, ...]
    total: int | None
    next: str | None


class _Bookmark(msgspec.Struct, array_like=True):
    total: int
    updated: int
    rid: int
    version: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one who is limited to a Group sees of a history: resources that he sees now, and of their versions those that ``keeps``."""

    within: Callable[[Iterable[str]], Sql]
    keeps: Callable[[Stored, bool], bool]  #: a version, and whether it is the current one


def run(reader: Reader, query: HistoryQuery, bounds: Bounds | None = None) -> HistoryPage:
    """Raises :class:`~gateway.errors.Rejected` (400) when ``start`` is no bookmark of a history."""
    versions = _versions(query, bounds)
    mark = read_bookmark(query.start, _Bookmark) if query.start else None
    if bounds:
        return _bounded(reader, query, versions, mark, bounds)
    total = mark.total if mark else reader.rows(sql("SELECT count(*) FROM ({}) AS versions", versions))[0][0]
    rows = _rows(reader, query, versions, mark)
    shown = rows[: query.count]
    following = write_bookmark(_bookmark(total, shown[-1])) if len(rows) > len(shown) and shown else None
    return HistoryPage(tuple(as_stored(row) for row in shown), total, following)


def version(reader: Reader, kind: str, logical_id: str, number: int) -> Stored | None:
    """One version that is not the current one."""
    earlier = sql("res.type = {} AND res.id = {} AND hist.version = {}", kind, logical_id, number)
    row = reader.first(sql("SELECT {} FROM hist JOIN res ON hist.rid = res.rid WHERE {}", _EARLIER, earlier))
    return as_stored(row) if row else None


def _bounded(reader: Reader, query: HistoryQuery, versions: Sql, mark: _Bookmark | None, bounds: Bounds) -> HistoryPage:
    """Each version is looked at, so the total is not known before the last page and is not told."""
    kept: list[Stored] = []
    rows: Sequence[Row] = ()
    while len(kept) < query.count:
        rows = _rows(reader, query, versions, mark)
        for row in rows[: query.count]:
            mark = _bookmark(0, row)
            stored = as_stored(row)
            if bounds.keeps(stored, bool(row[WIDTH])):
                kept.append(stored)
            if len(kept) == query.count:
                break
        if len(rows) <= query.count:
            break
    following = write_bookmark(mark) if mark and len(kept) == query.count else None
    return HistoryPage(tuple(kept), None, following)


def _bookmark(total: int, last: Row) -> _Bookmark:
    rid, _, _, version, updated, *_ = last
    return _Bookmark(total, updated, rid, version)


def _rows(reader: Reader, query: HistoryQuery, versions: Sql, mark: _Bookmark | None) -> list[Row]:
    """One more than are asked for."""
    behind = TRUE
    if query.id is not None:  # the version alone: two writers may have clocks that differ
        order = Sql("version DESC")
        if mark:
            behind = sql("version < {}", mark.version)
    else:
        order = Sql("updated DESC, rid DESC, version DESC")
        if mark:
            behind = sql("(updated, rid, version) < ({}, {}, {})", mark.updated, mark.rid, mark.version)
    pattern: LiteralString = "SELECT * FROM ({}) AS versions WHERE {} ORDER BY {} LIMIT {}"
    return reader.rows(sql(pattern, versions, behind, order, query.count + 1))


def _versions(query: HistoryQuery, bounds: Bounds | None) -> Sql:
    """The columns of :data:`~gateway.store.stored.COLUMNS`, and whether it is the current version."""
    asked = [sql("res.type = {}", query.type)] if query.type else []
    if bounds:
        asked.append(bounds.within([query.type] if query.type else definitions.resource_types()))
    if query.id is not None:
        asked.append(sql("res.id = {}", query.id))
    since = EARLIEST if query.since is None else query.since
    return sql(
        "SELECT {}, 1 AS current FROM res WHERE {} AND res.updated >= {} UNION ALL "
        "SELECT {}, 0 AS current FROM hist JOIN res ON hist.rid = res.rid WHERE {} AND hist.updated >= {}",
        COLUMNS, all_of(asked), since, _EARLIER, all_of(asked), since,
    )  # fmt: skip
