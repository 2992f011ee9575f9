"""What a person wants to know of studies: the latest ones, and all about one. Reads only; the page is made of these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.model import JsonObject, SharedFields
from gateway.spool import bodies

_MOST_HELD, _MOST_HEADERS, _MOST_VERSIONS = 200, 200, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedStudy:
    """The latest sealed version of a study, and what the patient's dossier says beside it."""

    uid: str
    version: int
    sealed_at: float
    patient_key: str
    bundle: JsonObject
    dossier: JsonObject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderKind:
    """One distinct header of a study: how many instances carry it, how many of these are published, where one of them stands."""

    patient_key: str
    fields: SharedFields
    instances: int
    published: int
    digest: str
    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """Everything the ledger knows of one study."""

    uid: str
    patient_key: str | None
    next_quiet_at: float | None
    problem: str | None
    series: list[JsonObject]  #: series_uid, state, n, size_bytes
    senders: list[JsonObject]
    held: list[JsonObject]
    headers: list[HeaderKind]
    bundle: JsonObject | None
    dossier: JsonObject | None
    versions: list[JsonObject]
    deliveries: list[JsonObject]


class Studies:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "studies.sql")

    def recent(self, *, limit: int, offset: int = 0) -> list[PublishedStudy]:
        """The studies published last, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["recent"], {"limit": limit, "offset": offset}).all()
            dossiers = {key: self._bundle(connection, "dossier", key) for key in {row.patient_key for row in rows}}
        return [
            PublishedStudy(
                uid=row.study_uid,
                version=row.version,
                sealed_at=row.sealed_at,
                patient_key=row.patient_key,
                bundle=bodies.unpack(row.bundle),
                dossier=dossiers[row.patient_key],
            )
            for row in rows
        ]

    def gathering(self, *, limit: int) -> list[JsonObject]:
        """Studies that have not been published yet."""
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(self._sql["gathering"], {"limit": limit})]

    def facts(self, uid: str) -> StudyFacts | None:
        """All about one study; None when nothing of it ever came."""
        with self._database.read() as connection:
            study = connection.execute(self._sql["study_row"], {"study": uid}).first()
            series = [dict(row._mapping) for row in connection.execute(self._sql["series_counts"], {"study": uid})]
            if not series:
                return None
            patient_key = study.patient_key if study else None
            return StudyFacts(
                uid=uid,
                patient_key=patient_key,
                next_quiet_at=study.next_quiet_at if study else None,
                problem=study.problem if study else None,
                series=series,
                senders=[dict(row._mapping) for row in connection.execute(self._sql["senders"], {"study": uid})],
                held=self._held(connection, uid),
                headers=self._headers(connection, uid),
                bundle=self._bundle(connection, "study", uid),
                dossier=self._bundle(connection, "dossier", patient_key) if patient_key else None,
                versions=self._versions(connection, uid),
                deliveries=self._deliveries(connection, uid, patient_key),
            )

    def parked_images(self, uid: str, target: str) -> list[int]:
        """Ids of the deliveries of a study's images that are parked for one target."""
        with self._database.read() as connection:
            return [row.id for row in connection.execute(self._sql["parked_images"], {"study": uid, "target": target})]

    def _held(self, connection: Connection, uid: str) -> list[JsonObject]:
        rows = connection.execute(self._sql["held"], {"study": uid, "limit": _MOST_HELD})
        return [{**row._mapping, "digest": bytes(row.digest).hex()} for row in rows]

    def _headers(self, connection: Connection, uid: str) -> list[HeaderKind]:
        rows = connection.execute(self._sql["shared_of_study"], {"study": uid, "limit": _MOST_HEADERS}).all()
        found = []
        for row in rows:
            file = connection.execute(self._sql["example_file"], {"id": row.example_id}).one()
            found.append(
                HeaderKind(
                    patient_key=row.patient_key,
                    fields=bodies.unpack_shared(row.body),
                    instances=row.n,
                    published=row.published,
                    digest=bytes(file.digest).hex(),
                    day=file.day,
                )
            )
        return found

    def _versions(self, connection: Connection, uid: str) -> list[JsonObject]:
        rows = connection.execute(self._sql["versions"], {"kind": "study", "key": uid, "limit": _MOST_VERSIONS})
        return [dict(row._mapping) for row in rows]

    def _deliveries(self, connection: Connection, uid: str, patient_key: str | None) -> list[JsonObject]:
        subjects = [("study", uid)] + ([("dossier", patient_key)] if patient_key else [])
        return [
            dict(row._mapping)
            for kind, key in subjects
            for row in connection.execute(self._sql["deliveries_of"], {"kind": kind, "key": key})
        ]

    def _bundle(self, connection: Connection, kind: str, key: str) -> JsonObject | None:
        row = connection.execute(self._sql["last_bundle"], {"kind": kind, "key": key}).first()
        found: JsonObject | None = bodies.unpack(row.bundle) if row else None
        return found
