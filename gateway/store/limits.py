"""A limit on how long one question may keep the database busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.errors import Rejected

QUERY_SECS = 20.0
#: Of a question inside a transaction that writes.
QUERY_SECS_OF_WRITERS = 2.0
#: Steps of SQLite's virtual machine between two looks at the clock: about a millisecond.
_STEPS = 20_000
_STOPPED = frozenset({"SQLITE_INTERRUPT", "57014"})
#: What SQLite says of a statement that is more than it takes; PostgreSQL has the codes 54xxx for it.
_TOO_MUCH = (
    "parser stack overflow",
    "too many SQL variables",
    "Expression tree is too large",
    "too many terms",
    "tables in a join",
)


@contextmanager
def limited(connection: Connection, seconds: float) -> Iterator[None]:
    """Statements inside end after ``seconds``. Raises :class:`Rejected` (400) for one that was stopped."""
    driver: Any = connection.connection.driver_connection
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        stop_after(driver, seconds)
    else:
        milliseconds = max(1, int(seconds * 1000))
        connection.execute(sa.select(sa.func.set_config("statement_timeout", str(milliseconds), True)))  # this transaction only
    try:
        yield
    except sa.exc.OperationalError as error:
        refused = refusal(error, seconds)
        if refused is None:
            raise
        raise refused from error
    finally:
        if sqlite:
            stop_after(driver, None)


def stop_after(driver: Any, seconds: float | None) -> None:
    """SQLite stops whatever runs on this connection after so many seconds from now; ``None``: never."""
    if seconds is None:
        driver.set_progress_handler(None, 0)
        return
    deadline = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)


def refusal(error: sa.exc.OperationalError, seconds: float) -> Rejected | None:
    """What to say of a statement that was stopped, or that is more than the database takes; ``None`` for all other errors."""
    code = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    if code in _STOPPED:
        return Rejected(f"the search took longer than {seconds:g} s; ask for less at once", status=400)
    if str(code).startswith("54") or any(words in str(error.orig) for words in _TOO_MUCH):
        return Rejected("the search is more than the database takes at once; ask for less", status=400)
    return None
