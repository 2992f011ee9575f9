"""The versions of one resource, of one type or of the whole store, the newest first (R4 http.html#history).

Pages are cut by key, as those of a search: what is written meanwhile comes before the first page, and shifts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

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
    total: int
    next: str | None


class _Bookmark(msgspec.Struct, array_like=True):
    total: int
    updated: int
    rid: int
    version: int


def run(connection: Connection, query: HistoryQuery) -> HistoryPage:
    """Raises :class:`~gateway.errors.Rejected` (400) when ``start`` is no bookmark of a history."""
    versions = _versions(query)
    mark = read_bookmark(query.start, _Bookmark) if query.start else None
    total = mark.total if mark else connection.execute(sa.select(sa.func.count()).select_from(versions)).scalar_one()
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
    rows = connection.execute(statement.order_by(*(column.desc() for column in key)).limit(query.count + 1)).all()
    shown = rows[: query.count]
    following = None
    if len(rows) > len(shown) and shown:
        last = shown[-1]
        following = write_bookmark(_Bookmark(total, last.updated, last.rid, last.version))
    return HistoryPage(tuple(as_stored(row) for row in shown), total, following)


def _versions(query: HistoryQuery) -> sa.Subquery:
    asked = [RES.c.type == query.type] if query.type else []
    if query.id is not None:
        asked.append(RES.c.id == query.id)
    names = RES.c.rid, RES.c.type, RES.c.id
    current = sa.select(*names, RES.c.version, RES.c.updated, RES.c.deleted, RES.c.body).where(*asked)
    older = (
        sa.select(*names, HIST.c.version, HIST.c.updated, HIST.c.deleted, HIST.c.body)
        .select_from(HIST.join(RES, HIST.c.rid == RES.c.rid))
        .where(*asked)
    )
    if query.since is not None:
        current, older = current.where(RES.c.updated >= query.since), older.where(HIST.c.updated >= query.since)
    return sa.union_all(current, older).subquery()
