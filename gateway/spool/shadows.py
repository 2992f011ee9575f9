"""Shadow: objects that are mapped and shown but not published until a named person approves their scanner or their mapping.

Nothing of them is lost: they have their file, their record and their place in the archive. Approving hands them to the worker as if they
had just come. Of a study that comes half from an approved scanner, that half is published, and the rest follows as late objects do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.errors import Rejected
from gateway.model import JsonObject, SharedFields
from gateway.spool.decisions import CONFLICT, By, check_words
from gateway.spool.scanner import Scanner
from gateway.spool.study_view import NOT_FOUND

_MAPPING, _SCANNER = "mapping:", "scanner:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """Why an instance is not published: what has to be approved, and a sentence for people."""

    held_for: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownScanner:
    """A scanner that something came from. ``approved_by`` is None while a person has to look."""

    id: int
    scanner: Scanner
    first_at: float
    approved_at: float | None
    approved_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits for one approval: ``mapping`` or ``scanner``, its name or id, how much."""

    kind: str
    name: str
    objects: int
    studies: int
    since: str  #: the day of the oldest

    @property
    def held_for(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What judging looks at of one instance. ``shadow``: its mapping says so."""

    instance_id: int
    shared: SharedFields
    shadow: bool


class Shadows:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "shadows.sql")

    def judge(self, connection: Connection, items: Sequence[Judged], *, new_scanners: bool, now: float) -> dict[int, Shadowed]:
        """Those of the instances that must not be published yet. Remembers every scanner.

        With ``new_scanners`` one that nobody saw before has to be approved; without, to be seen is to be approved.
        """
        found: dict[int, Shadowed] = {}
        verdicts: dict[tuple[str, str], Shadowed | None] = {}
        for item in items:
            scanner = Scanner.of(item.shared.device)
            by_scanner, by_mapping = ("scanner", scanner.key), (item.shared.mapping, item.shared.mapping_version)
            if by_scanner not in verdicts:
                verdicts[by_scanner] = self._judge_scanner(connection, scanner, new_scanners=new_scanners, now=now)
            if item.shadow and by_mapping not in verdicts:
                verdicts[by_mapping] = self._judge_mapping(connection, item.shared)
            verdict = (verdicts[by_mapping] if item.shadow else None) or verdicts[by_scanner]
            if verdict is not None:
                found[item.instance_id] = verdict
        return found

    def _judge_scanner(self, connection: Connection, scanner: Scanner, *, new_scanners: bool, now: float) -> Shadowed | None:
        row = connection.execute(self._sql["known_scanner"], {"key": scanner.key}).first()
        if row is None:
            seen = {"approved_at": now, "approved_by": "-", "reason": "new scanners need no approval here"}
            waits = {"approved_at": None, "approved_by": None, "reason": None}
            connection.execute(self._sql["insert_scanner"], {**scanner.as_row(), "now": now, **(waits if new_scanners else seen)})
            row = connection.execute(self._sql["known_scanner"], {"key": scanner.key}).one()
        if not new_scanners or row.approved_at is not None:
            return None
        if connection.execute(self._sql["look_at_scanner"], {"id": row.id}).scalar_one() is not None:
            return None
        reason = f"From a new scanner ({scanner.text}): nothing of it is published until a person approves it."
        return Shadowed(held_for=f"{_SCANNER}{row.id}", reason=reason)

    def _judge_mapping(self, connection: Connection, shared: SharedFields) -> Shadowed | None:
        named = {"mapping": shared.mapping, "version": shared.mapping_version}
        connection.execute(self._sql["insert_mapping"], named)
        if connection.execute(self._sql["look_at_mapping"], named).scalar_one() is not None:
            return None
        reason = f"The mapping '{shared.mapping}' is in shadow: nothing it reads is published until a person approves it."
        return Shadowed(held_for=f"{_MAPPING}{shared.mapping}", reason=reason)

    def approve_scanner(self, identifier: int, by: By) -> int:
        """Publish what comes and came from this scanner. Returns how many objects were waiting. Raises :class:`Rejected`."""
        check_words(by)
        row = {"id": identifier, "now": by.at, "by": by.name, "reason": by.reason}
        with self._database.write() as connection:
            if connection.execute(self._sql["approve_scanner"], row).rowcount != 1:
                if connection.execute(self._sql["scanner"], {"id": identifier}).first() is None:
                    raise Rejected("There is no such scanner; see 'isobridge scanner list'.", status=NOT_FOUND)
                raise Rejected("This scanner is approved already; nothing was changed.", status=CONFLICT)
            return connection.execute(self._sql["release"], {"held_for": f"{_SCANNER}{identifier}"}).rowcount

    def approve_mapping(self, mapping: str, version: str | None, by: By) -> int:
        """Publish what this mapping reads, in this version; without one it is in force no more, and what it left is read anew.

        Returns how many objects were waiting. Raises :class:`Rejected`.
        """
        check_words(by)
        named = {"mapping": mapping, "version": version}
        with self._database.write() as connection:
            approved = 0
            if version is not None:
                connection.execute(self._sql["insert_mapping"], named)
                row = {**named, "now": by.at, "by": by.name, "reason": by.reason}
                approved = connection.execute(self._sql["approve_mapping"], row).rowcount
            released = connection.execute(self._sql["release"], {"held_for": f"{_MAPPING}{mapping}"}).rowcount
            if not approved and not released:
                raise Rejected(f"Nothing waits for the mapping '{mapping}'; nothing was changed.", status=CONFLICT)
            return released

    def scanners(self, *, limit: int = 1000) -> list[KnownScanner]:
        """Every scanner that something came from; those that wait for a person first."""
        with self._database.read() as connection:
            return [_known(dict(row._mapping)) for row in connection.execute(self._sql["scanners"], {"limit": limit})]

    def waiting(self) -> list[Waiting]:
        """What is in shadow, by what it waits for."""
        found = []
        with self._database.read() as connection:
            for row in connection.execute(self._sql["held"]):
                kind, _, name = row.held_for.partition(":")
                found.append(Waiting(kind=kind, name=name, objects=row.objects, studies=row.studies, since=row.since))
        return found

    def studies(self, held_for: str, *, limit: int) -> list[JsonObject]:
        """Studies with objects that wait for one approval, the latest first: ``study_uid``, ``objects``."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["studies_held"], {"held_for": held_for, "limit": limit})
            return [dict(row._mapping) for row in rows]


def _known(row: JsonObject) -> KnownScanner:
    names = ("manufacturer", "model", "serial", "station")
    rest = {name: value for name, value in row.items() if name not in names}
    return KnownScanner(scanner=Scanner(**{name: row[name] for name in names}), **rest)
