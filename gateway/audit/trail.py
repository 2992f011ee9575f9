"""The audit trail, ``audit.db``. An access is on the disk of this machine before its answer leaves, and in the database a moment later.

A record is one line of a journal (:mod:`gateway.audit.journal`): that costs some microseconds and survives the end of the process. A
thread moves whole journals into the database in a few transactions; a journal that was moved twice (the process ended in between) leaves
no double, because each record has a key. When the journal cannot be written the access is refused: nothing is seen that is not recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from gateway.audit.journal import ROOM_BYTES, Journal, lines
from gateway.audit.record import Record
from gateway.database import Database
from gateway.errors import Retryable

BATCH_SECS = 0.5
MOST_AT_ONCE = 200
_ROWS = 1000
_MIGRATIONS = Path(__file__).parent / "migrations"
_METADATA = sa.MetaData()
_ACCESS = sa.Table(
    "access",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text),
    sa.Column("at", sa.Double),
    sa.Column("who", sa.Text),
    sa.Column("body", sa.LargeBinary),
)
_PATIENT = sa.Table(
    "patient",
    _METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
)
_DECODER = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which records. Times are seconds since 1970; ``below`` is where the page before ended."""

    since: float | None = None
    until: float | None = None
    who: str | None = None
    patient: str | None = None
    below: int | None = None
    count: int = 50


@dataclass(frozen=True, slots=True)
class Found:
    """Records, newest first; ``next`` goes into :attr:`Asked.below`."""

    records: tuple[Record, ...]
    next: int | None


class AuditTrail:
    """Opening creates or migrates the tables and takes in what an earlier process left. One process writes; commands may read."""

    def __init__(self, url: str, journals: Path, *, batch_secs: float = BATCH_SECS) -> None:
        self._database = Database(url)
        self._database.migrate(_MIGRATIONS)
        self._journals = journals
        self._lock = threading.Lock()
        self._moving = threading.Lock()
        self._journal: Journal | None = None
        self._serial = 0
        self._stop = threading.Event()
        self._batch_secs = batch_secs
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to take notes, and take in what an earlier process left."""
        self._journals.mkdir(parents=True, exist_ok=True, mode=0o700)
        left = [int(path.stem) for path in self._journals.glob("*.jsonl") if path.stem.isdigit()]
        self._serial = max(left, default=0)
        if left:
            with self._lock:
                self._wake()

    def note(self, record: Record) -> None:
        """Raises :class:`Retryable` when it cannot be kept: then what it records must not happen."""
        line = _ENCODER.encode(record) + b"\n"
        try:
            with self._lock:
                if self._journal is None or not self._journal.append(line):
                    self._begin(len(line)).append(line)
                self._wake()
        except OSError as error:
            raise Retryable(f"the audit trail cannot be written ({error.strerror})") from error

    def _begin(self, least_bytes: int) -> Journal:
        """The next journal, with room for the record that it is begun for. Called with the lock held."""
        self._end()
        self._serial += 1
        self._journal = Journal(self._journals / f"{self._serial:012d}.jsonl", max(ROOM_BYTES, least_bytes))
        return self._journal

    def _end(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def flush(self) -> None:
        """Move everything noted until now into the database. Raises :class:`Retryable`."""
        with self._moving:
            with self._lock:
                self._end()
                waiting = sorted(self._journals.glob("*.jsonl")) if self._journals.is_dir() else []
            for path in waiting:
                self._move(path)

    def find(self, asked: Asked) -> Found:
        """Raises :class:`Retryable`."""
        wanted = sa.select(_ACCESS.c.number, _ACCESS.c.body)
        if asked.since is not None:
            wanted = wanted.where(_ACCESS.c.at >= asked.since)
        if asked.until is not None:
            wanted = wanted.where(_ACCESS.c.at < asked.until)
        if asked.who is not None:
            wanted = wanted.where(_ACCESS.c.who == asked.who)
        if asked.below is not None:
            wanted = wanted.where(_ACCESS.c.number < asked.below)
        if asked.patient is not None:
            wanted = wanted.where(_ACCESS.c.number.in_(sa.select(_PATIENT.c.number).where(_PATIENT.c.id == asked.patient)))
        count = min(max(asked.count, 1), MOST_AT_ONCE)
        with self._database.read() as connection:
            rows = connection.execute(wanted.order_by(_ACCESS.c.number.desc()).limit(count + 1)).all()
        shown = rows[:count]
        return Found(tuple(_DECODER.decode(row.body) for row in shown), shown[-1].number if len(rows) > count else None)

    def all(self, asked: Asked, most: int) -> Iterator[Record]:
        """Up to ``most`` records, page by page."""
        left, page = most, replace(asked, count=min(most, MOST_AT_ONCE))
        while left > 0:
            found = self.find(page)
            yield from found.records[:left]
            left -= len(found.records)
            if found.next is None:
                return
            page = replace(page, below=found.next)

    def get(self, key: str) -> Record | None:
        with self._database.read() as connection:
            body = connection.execute(sa.select(_ACCESS.c.body).where(_ACCESS.c.key == key)).scalar()
        return _DECODER.decode(body) if body else None

    def close(self) -> None:
        """Stop the thread and move what is left."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread:
            thread.join()
        self._is_moved()
        self._database.close()

    def _wake(self) -> None:
        """The thread lives while there is something to move. Called with the lock held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(self._batch_secs):
            is_moved = self._is_moved()
            with self._lock:
                if is_moved and self._journal is None:
                    self._thread = None
                    return

    def _is_moved(self) -> bool:
        try:
            self.flush()
        except (Retryable, OSError) as error:
            log.warning("audit_trail_waits", stage="web", reason=str(error))  # the journals stay; the next try takes them
            return False
        return True

    def _move(self, path: Path) -> None:
        records, is_damaged = _read(path)
        for start in range(0, len(records), _ROWS):
            with self._database.write() as connection:
                _insert(connection, records[start : start + _ROWS])
        if is_damaged:
            log.warning("audit_journal_damaged", stage="web", journal=path.name)
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink()


def _read(path: Path) -> tuple[list[Record], bool]:
    """The records of a journal, and whether it holds a line that is none: half of one, when the disk was full or the power failed."""
    records: list[Record] = []
    is_damaged = False
    for line in lines(path):
        try:
            records.append(_DECODER.decode(line))
        except msgspec.MsgspecError:
            is_damaged = True
    return records, is_damaged


def _insert(connection: sa.Connection, records: Sequence[Record]) -> None:
    keys = [record.key for record in records]
    known = set(connection.execute(sa.select(_ACCESS.c.key).where(_ACCESS.c.key.in_(keys))).scalars())
    fresh = [record for record in records if record.key not in known]
    first = (connection.execute(sa.select(sa.func.max(_ACCESS.c.number))).scalar() or 0) + 1
    numbered = list(enumerate(fresh, start=first))
    rows = [(number, one.key, one.at, one.who, _ENCODER.encode(one)) for number, one in numbered]
    _fill(connection, _ACCESS, rows)
    _fill(connection, _PATIENT, [(patient, number) for number, one in numbered for patient in dict.fromkeys(one.patients)])


def _fill(connection: sa.Connection, table: sa.Table, rows: list[tuple[Any, ...]]) -> None:
    """As they are, which costs half of what SQLAlchemy takes for each."""
    if rows:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        marks = ", ".join(mark for _ in table.c)
        connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", rows)  # noqa: S608 - names of our own
