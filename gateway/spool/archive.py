"""What of the spool DICOMweb may serve: instances that were understood and that nobody holds. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from gateway.database import Database
from gateway.model import JsonObject, SharedFields
from gateway.spool import bodies

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One instance that may be served, and where its file stands."""

    id: int
    digest: str
    day: str
    size_bytes: int
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a mapping read from one kind of header of a series, and whose it is now (people may have decided otherwise)."""

    patient_key: str
    study_uid: str
    fields: SharedFields


class Archive:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "archive.sql")
        self._sql["known"] = self._sql["known"].bindparams(sa.bindparam("studies", expanding=True))

    def served(self, study: str, series: str = "", instance: str = "") -> list[Served]:
        with self._database.read() as connection:
            rows = connection.execute(self._sql["served"], {"study": study, "series": series, "instance": instance})
            return [Served(**{**row._mapping, "digest": bytes(row.digest).hex()}) for row in rows]

    def not_served(self, study: str, series: str = "", instance: str = "") -> dict[str, int]:
        """How many instances of this are there but in another state, by state."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["not_served"], {"study": study, "series": series, "instance": instance})
            return {row.state: row.n for row in rows}

    def known(self, studies: Collection[str]) -> set[str]:
        """Those of which anything was ever received, whatever became of it."""
        if not studies:
            return set()
        with self._database.read() as connection:
            return set(connection.execute(self._sql["known"], {"studies": list(studies)}).scalars())

    def study_of(self, series: str) -> str | None:
        with self._database.read() as connection:
            found: str | None = connection.execute(self._sql["study_of_series"], {"series": series}).scalar()
            return found

    def told(self, *, study: str = "", patient_id: str = "") -> Iterator[Told]:
        """What headers say, newest first; of one study, or of everybody with this patient id, when asked so."""
        escaped = patient_id.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        wanted = {"study": study, "patient": f"%|{escaped}" if patient_id else "", "limit": _PAGE}
        below = 2**62
        while True:
            with self._database.read() as connection:
                rows = connection.execute(self._sql["latest_shared"], {**wanted, "below": below}).all()
            for row in rows:
                yield Told(patient_key=row.patient_key, study_uid=row.study_uid, fields=bodies.unpack_shared(row.body))
            if len(rows) < _PAGE:
                return
            below = rows[-1].id

    def numbers(self, study: str) -> dict[str, int]:
        """Instances by series."""
        with self._database.read() as connection:
            return {row.series_uid: row.n for row in connection.execute(self._sql["study_numbers"], {"study": study})}

    def instance_fields(self, study: str, series: str = "") -> dict[int, JsonObject]:
        """The instance-level fields, by instance id."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["instance_fields"], {"study": study, "series": series})
            return {row.instance_id: bodies.unpack_small(row.fields) for row in rows}
