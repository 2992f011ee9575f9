"""Lists of therapy cycles that a person declared complete: who, when, why. Only over such a list is a dose added up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gateway.database import Database
from gateway.errors import Rejected
from gateway.model import DeclaredCycles
from gateway.spool.decisions import BAD_REQUEST, By, check_words
from gateway.spool.study_view import NOT_FOUND
from gateway.spool.timers import Timers

_FEWEST = 2


class Declarations:
    def __init__(self, database: Database, timers: Timers) -> None:
        self._database = database
        self._timers = timers
        self._sql = database.statements(Path(__file__).parent / "sql" / "declarations.sql")

    def of_patient(self, patient_key: str, *, withdrawn: bool = False) -> list[DeclaredCycles]:
        """What was declared of a patient, the oldest first; with ``withdrawn`` also what holds no longer."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["of_patient"], {"patient_key": patient_key}).all()
        return [
            DeclaredCycles(
                id=row.id,
                administrations=tuple(json.loads(row.cycles)),
                region=row.region,
                reason=row.reason,
                decided_by=row.decided_by,
                decided_at=row.decided_at,
                withdrawn=row.withdrawn_at is not None,
                withdrawn_reason=row.withdrawn_reason or "",
                withdrawn_by=row.withdrawn_by or "",
                withdrawn_at=row.withdrawn_at or 0.0,
            )
            for row in rows
            if withdrawn or row.withdrawn_at is None
        ]

    def declare(self, patient_key: str, administrations: Sequence[str], region: str | None, by: By) -> int:
        """These administrations are all cycles. Returns the declaration's number. Raises :class:`Rejected` (nothing was changed)."""
        check_words(by)
        cycles = tuple(dict.fromkeys(administrations))
        if len(cycles) < _FEWEST:
            raise Rejected("A dose is added up over two cycles or more; nothing was changed.", status=BAD_REQUEST)
        row = {
            "patient_key": patient_key,
            "cycles": json.dumps(cycles),
            "region": region,
            "reason": " ".join(by.reason.split()),
            "decided_by": " ".join(by.name.split()),
            "decided_at": by.at,
        }
        with self._database.write() as connection:
            number = int(connection.execute(self._sql["insert"], row).scalar_one())
            self._timers.touch(connection, "dossier", [patient_key], now=by.at, at_once=True)
        return number

    def withdraw(self, patient_key: str, number: int, by: By) -> None:
        """A declaration holds no longer: what was added up over it is entered in error. Raises :class:`Rejected`."""
        check_words(by)
        row = {
            "id": number,
            "patient_key": patient_key,
            "reason": " ".join(by.reason.split()),
            "decided_by": " ".join(by.name.split()),
            "decided_at": by.at,
        }
        with self._database.write() as connection:
            if not connection.execute(self._sql["withdraw"], row).rowcount:
                raise Rejected("This patient has no such declaration in force; nothing was changed.", status=NOT_FOUND)
            self._timers.touch(connection, "dossier", [patient_key], now=by.at, at_once=True)
