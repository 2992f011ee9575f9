"""SQL that reads: its text, and the values that belong into it.

A search is a few small conditions put together. SQLAlchemy can do that for any database, but building, caching and compiling its
expressions took ten times as long as SQLite took to find the answer. Here a condition is a text and its values, and putting
together is joining texts. Three rules make that safe and quick:

- A pattern is a literal of this room's code. ``{}`` in it takes a condition (:class:`Sql`), which is written there, or a value,
  which never is: there stands ``?``, and the value goes to the driver as a parameter. So no value can become SQL, whatever it is.
- The same question has the same text, whatever its values: lists are filled up to the next power of two (:func:`is_one_of`).
  Both drivers keep the plans of the texts they know.
- One text for SQLite and PostgreSQL. What they spell differently is in :func:`for_driver`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import LiteralString

import msgspec

Value = str | int | float


class Sql(msgspec.Struct, frozen=True):
    """A piece of SQL with a ``?`` for each of its values. ``heads``: selections it names, which stand once at the head of a statement."""

    text: str
    values: tuple[Value, ...] = ()
    heads: tuple[Head, ...] = ()


class Head(msgspec.Struct, frozen=True):
    """``WITH name AS (text)``."""

    name: str
    text: str
    values: tuple[Value, ...]


TRUE = Sql("TRUE")
FALSE = Sql("FALSE")
NOTHING = Sql("")


def sql(pattern: LiteralString, *parts: Sql | Value) -> Sql:
    """The pattern with its parts in the places of ``{}``, in their order."""
    assert len(parts) == _places(pattern)  # noqa: S101 - the text would lose a condition
    texts: list[str] = []
    values: list[Value] = []
    heads: tuple[Head, ...] = ()
    for part in parts:
        if isinstance(part, Sql):
            texts.append(part.text)
            values += part.values
            if part.heads:
                heads = _together(heads, part.heads)
        else:
            texts.append("?")
            values.append(part)
    return Sql(pattern.format(*texts), tuple(values), heads)


@lru_cache(maxsize=1024)
def _places(pattern: str) -> int:
    assert not set("?%") & set(pattern)  # noqa: S101 - they mean a value to one of the drivers
    return pattern.count("{}")


def _together(heads: tuple[Head, ...], more: tuple[Head, ...]) -> tuple[Head, ...]:
    """Each once; what a head names comes before it, as it did."""
    return (*heads, *(head for head in more if head not in heads))


def all_of(parts: Iterable[Sql]) -> Sql:
    return _joined(" AND ", [*parts], TRUE)


def any_of(parts: Iterable[Sql]) -> Sql:
    return _joined(" OR ", [*parts], FALSE)


def listed(parts: Iterable[Sql]) -> Sql:
    """With commas between them; nothing for none."""
    return _written(", ", [*parts])


def one_after_another(parts: Iterable[Sql]) -> Sql:
    return _written("", [*parts])


def _joined(word: str, parts: Sequence[Sql], none: Sql) -> Sql:
    if len(parts) > 1:
        return sql("({})", _written(word, parts))
    return parts[0] if parts else none


def _written(word: str, parts: Sequence[Sql]) -> Sql:
    if len(parts) == 1:
        return parts[0]
    heads: tuple[Head, ...] = ()
    values: list[Value] = []
    for part in parts:
        values += part.values
        if part.heads:
            heads = _together(heads, part.heads)
    return Sql(word.join([part.text for part in parts]), tuple(values), heads)


def negated(part: Sql) -> Sql:
    return sql("NOT ({})", part)


def is_one_of(column: Sql, wanted: Sequence[Value]) -> Sql:
    """``column IN (...)``. The last value is repeated up to the next power of two: so there are ten texts for lists and not a thousand."""
    if len(wanted) < 2:
        return sql("{} = {}", column, wanted[0]) if wanted else FALSE
    room = 1 << (len(wanted) - 1).bit_length()
    filled = (*wanted, *[wanted[-1]] * (room - len(wanted)))
    return sql("{} IN ({})", column, Sql(", ".join("?" * room), filled))


def named_once(name: LiteralString, number: int, selection: Sql) -> Sql:
    """The name of a selection that stands at the head of the statement, once however often it is asked for (``WITH``)."""
    named = f"{name}{number}"
    return Sql(named, (), (*selection.heads, Head(named, selection.text, selection.values)))


def for_driver(statement: Sql, dialect: str) -> tuple[str, tuple[Value, ...]]:
    """A whole statement as ``execute`` of sqlite3 or psycopg takes it."""
    text, values = statement.text, statement.values
    if statement.heads:
        text = f"WITH {', '.join(f'{head.name} AS ({head.text})' for head in statement.heads)} {text}"
        values = (*(value for head in statement.heads for value in head.values), *values)
    return text if dialect == "sqlite" else text.replace("?", "%s"), values
