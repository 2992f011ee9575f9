"""The versions of one resource, of one type or of the whole store, the newest first (R4 http.html#history).

Pages are cut by key, as those of a search: what is written meanwhile comes before the first page, and shifts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement

from gateway.r4 import definitions
from gateway.store.bookmarks import read_bookmark, write_bookmark
from gateway.store.search import Stored, as_stored
from gateway.store.tables import HIST, RES

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

    within: Callable[[Iterable[str]], ColumnElement[bool]]
    keeps: Callable[[Stored, bool], bool]  #: a version, and whether it is the current one


def run(connection: Connection, query: HistoryQuery, bounds: Bounds | None = None) -> HistoryPage:
    """Raises :class:`~gateway.errors.Rejected` (400) when ``start`` is no bookmark of a history."""
    versions = _versions(query, bounds)
    mark = read_bookmark(query.start, _Bookmark) if query.start else None
    if bounds:
        return _bounded(connection, query, versions, mark, bounds)
    total = mark.total if mark else connection.execute(sa.select(sa.func.count()).select_from(versions)).scalar_one()
    rows = _rows(connection, query, versions, mark)
    shown = rows[: query.count]
    following = _bookmark(total, shown[-1]) if len(rows) > len(shown) and shown else None
    return HistoryPage(tuple(as_stored(row) for row in shown), total, following)


def _bounded(
    connection: Connection, query: HistoryQuery, versions: sa.Subquery, mark: _Bookmark | None, bounds: Bounds
) -> HistoryPage:
    """Each version is looked at, so the total is not known before the last page and is not told."""
    kept: list[Stored] = []
    rows: Sequence[Any] = ()
    while len(kept) < query.count:
        rows = _rows(connection, query, versions, mark)
        for row in rows[: query.count]:
            mark = _Bookmark(0, row.updated, row.rid, row.version)
            stored = as_stored(row)
            if bounds.keeps(stored, bool(row.current)):
                kept.append(stored)
            if len(kept) == query.count:
                break
        if len(rows) <= query.count:
            break
    following = write_bookmark(mark) if mark and len(kept) == query.count else None
    return HistoryPage(tuple(kept), None, following)


def _bookmark(total: int, last: Any) -> str:
    return write_bookmark(_Bookmark(total, last.updated, last.rid, last.version))


def _rows(connection: Connection, query: HistoryQuery, versions: sa.Subquery, mark: _Bookmark | None) -> Sequence[Any]:
    """One more than are asked for."""
    statement = sa.select(versions)
    columns = versions.c
    if query.id is not None:  # the version alone: two writers may have clocks that differ
        key = [columns.version]
        values = [mark.version] if mark else []
    else:
        key = [columns.updated, columns.rid, columns.version]
        values = [mark.updated, mark.rid, mark.version] if mark else []
    if values:
        statement = statement.where(sa.tuple_(*key) < sa.tuple_(*map(sa.literal, values)))
    return connection.execute(statement.order_by(*(column.desc() for column in key)).limit(query.count + 1)).all()


def _versions(query: HistoryQuery, bounds: Bounds | None) -> sa.Subquery:
    asked = [RES.c.type == query.type] if query.type else []
    if bounds:
        asked.append(bounds.within([query.type] if query.type else definitions.resource_types()))
    if query.id is not None:
        asked.append(RES.c.id == query.id)
    names = RES.c.rid, RES.c.type, RES.c.id
    current = sa.select(*names, RES.c.version, RES.c.updated, RES.c.deleted, RES.c.body, sa.literal(1).label("current"))
    current = current.where(*asked)
    older = (
        sa.select(*names, HIST.c.version, HIST.c.updated, HIST.c.deleted, HIST.c.body, sa.literal(0).label("current"))
        .select_from(HIST.join(RES, HIST.c.rid == RES.c.rid))
        .where(*asked)
    )
    if query.since is not None:
        current, older = current.where(RES.c.updated >= query.since), older.where(HIST.c.updated >= query.since)
    return sa.union_all(current, older).subquery()
