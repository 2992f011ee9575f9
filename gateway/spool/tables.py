"""Tables in the ledger: each file once, by its digest; its parts; who assigned which part to what, when and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.errors import Rejected
from gateway.model import SharedFields
from gateway.spool import bodies
from gateway.spool.decisions import CONFLICT, By, check_words
from gateway.spool.study_view import NOT_FOUND
from gateway.spool.timers import Timers

MOST_LISTED = 500
NO_PATIENT = "The table names no patient."


class TableDecisionKind(StrEnum):
    ASSIGN = "assign"
    WITHDRAW = "withdraw"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """One file as it came."""

    digest: str
    name: str
    size_bytes: int
    adapter: str
    adapter_version: str
    door: str
    sender: str
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPart:
    """What a file tells of one patient and administration. ``stated_key``: the patient it names."""

    key: str
    stated_key: str | None
    fields: SharedFields


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePart:
    """A part that stands in a patient's dossier."""

    id: int
    patient_key: str
    administration_id: str | None  #: chosen by a person
    cycle: int | None
    received_at: float
    digest: str
    fields: SharedFields


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPart:
    """A part as people see it."""

    id: int
    stated_key: str | None
    patient_key: str | None
    administration_id: str | None
    cycle: int | None
    withdrawn: bool
    bound_to: str | None
    waits_for: str | None
    facts: int
    name: str
    adapter: str
    adapter_version: str
    received_at: float
    door: str
    sender: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDecision:
    id: int
    part_id: int
    kind: TableDecisionKind
    patient_key: str | None
    administration_id: str | None
    cycle: int | None
    reason: str
    decided_by: str
    decided_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a file: known before with the same reading, or not; how many parts."""

    is_new: bool
    parts: int


class Tables:
    def __init__(self, database: Database, timers: Timers) -> None:
        self._database = database
        self._timers = timers
        self._sql = database.statements(Path(__file__).parent / "sql" / "tables.sql")

    def received_before(self, digest: str) -> float | None:
        """When this file came first, if it did."""
        with self._database.read() as connection:
            row = connection.execute(self._sql["file_by_digest"], {"digest": bytes.fromhex(digest)}).first()
            return row.received_at if row else None

    def take(self, file: TableFile, parts: Sequence[NewPart], *, now: float) -> Taken:
        """Record a file and what was read from it, and mark the dossiers it concerns. The same file read the same way changes nothing."""
        with self._database.write() as connection:
            row = connection.execute(self._sql["file_by_digest"], {"digest": bytes.fromhex(file.digest)}).first()
            if row is not None and (row.adapter, row.adapter_version) == (file.adapter, file.adapter_version):
                return Taken(is_new=False, parts=len(parts))
            values = {name: getattr(file, name) for name in file.__slots__} | {"digest": bytes.fromhex(file.digest)}
            if row is None:
                file_id = connection.execute(self._sql["insert_file"], values).scalar()
                if file_id is None:  # another door took the same file at this moment
                    return Taken(is_new=False, parts=len(parts))
            else:
                file_id = row.id
                connection.execute(self._sql["read_again"], {**values, "file_id": file_id})
            self._put_parts(connection, file_id, parts, now)
            return Taken(is_new=True, parts=len(parts))

    def _put_parts(self, connection: Connection, file_id: int, parts: Sequence[NewPart], now: float) -> None:
        before = connection.execute(self._sql["parts_of_file"], {"file_id": file_id}).all()
        kept = {part.key for part in parts}
        concerned = {row.patient_key for row in before} | {part.stated_key for part in parts}
        for row in before:
            if row.key not in kept:
                connection.execute(self._sql["part_gone"], {"id": row.id})
        for part in parts:
            values = {
                "file_id": file_id,
                "key": part.key,
                "stated_key": part.stated_key,
                "waits_for": NO_PATIENT if part.stated_key is None else "It has not been looked at yet.",
                "facts": len(part.fields.results),
                "body": bodies.pack(part.fields),
            }
            connection.execute(self._sql["put_part"], values)
        self._timers.touch(connection, "dossier", {key for key in concerned if key is not None}, now=now, at_once=True)

    def files(self) -> list[tuple[str, str, str]]:
        """Every file that was taken: digest, name, the adapter that read it."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["files"]).all()
        return [(bytes(row.digest).hex(), row.name, row.adapter) for row in rows]

    def of_patient(self, patient_key: str, *, withdrawn: bool = False) -> list[TablePart]:
        """The parts that stand in one dossier, the older first, or those that were withdrawn. Never those of a former reading."""
        words = {"patient_key": patient_key, "withdrawn": int(withdrawn)}
        with self._database.read() as connection:
            return [_part(row) for row in connection.execute(self._sql["parts_of_patient"], words)]

    def settle(self, outcomes: Mapping[int, tuple[str | None, str | None]]) -> None:
        """What a gathering came to: part -> (administration it is bound to, why it waits)."""
        if not outcomes:
            return
        with self._database.write() as connection:
            for part_id, (bound_to, waits_for) in sorted(outcomes.items()):
                connection.execute(self._sql["settle_part"], {"id": part_id, "bound_to": bound_to, "waits_for": waits_for})

    def is_known(self, patient_key: str) -> bool:
        """Whether an object tells of this patient."""
        with self._database.read() as connection:
            return connection.execute(self._sql["is_known"], {"patient_key": patient_key}).first() is not None

    def known_with_id(self, identifier: str) -> list[str]:
        """Patients with this id, whoever issued it."""
        escaped = identifier.replace("!", "!!").replace("%", "!%").replace("_", "!_")
        with self._database.read() as connection:
            rows = connection.execute(self._sql["known_like"], {"ending": f"%|{escaped}"})
            return [row.patient_key for row in rows]

    def listed(self, *, everything: bool = False) -> list[ListedPart]:
        """Parts that wait for a person, the newest first; or all."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["listed"], {"everything": int(everything), "most": MOST_LISTED})
            return [_listed(row) for row in rows]

    def one(self, part_id: int) -> tuple[ListedPart, SharedFields]:
        """Raises :class:`Rejected` when there is none."""
        with self._database.read() as connection:
            row = connection.execute(self._sql["one"], {"id": part_id}).first()
        if row is None:
            raise Rejected(f"There is no table {part_id}; see 'isobridge assign list --all'.", status=NOT_FOUND)
        return _listed(row), bodies.unpack_shared(row.body)

    def count_waiting(self) -> int:
        with self._database.read() as connection:
            return int(connection.execute(self._sql["count_waiting"]).scalar_one())

    def decisions(self, part_id: int) -> list[TableDecision]:
        """What people decided about a part, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(self._sql["decisions"], {"part_id": part_id}).all()
        return [TableDecision(**{**row._mapping, "kind": TableDecisionKind(row.kind)}) for row in rows]

    def assign(
        self, part_id: int, by: By, *, patient_key: str, administration_id: str | None, cycle: int | None
    ) -> TableDecision:
        """A person says whose it is. Raises :class:`Rejected` when patient or administration are not known."""
        part, _ = self.one(part_id)
        if not self.is_known(patient_key):
            raise Rejected("No object tells of this patient; a table creates no patient. Nothing was changed.", status=NOT_FOUND)
        if administration_id is not None:
            with self._database.read() as connection:
                row = connection.execute(
                    self._sql["administration_known"], {"id": administration_id, "patient_key": patient_key}
                ).first()
            if row is None or row.state != "active":
                raise Rejected("This patient has no such administration; nothing was changed.", status=NOT_FOUND)
        chosen = {"patient_key": patient_key, "administration_id": administration_id, "cycle": cycle}
        return self._decide(part, TableDecisionKind.ASSIGN, by, chosen, {part.patient_key, patient_key})

    def withdraw(self, part_id: int, by: By) -> TableDecision:
        """The table must not be believed: its facts are entered in error. Raises :class:`Rejected`."""
        part, _ = self.one(part_id)
        if part.withdrawn:
            raise Rejected("This table is withdrawn already; nothing was changed.", status=CONFLICT)
        return self._decide(part, TableDecisionKind.WITHDRAW, by, {}, {part.patient_key})

    def restore(self, part_id: int, by: By) -> TableDecision:
        """A table that was withdrawn counts again. Raises :class:`Rejected`."""
        part, _ = self.one(part_id)
        if not part.withdrawn:
            raise Rejected("This table is not withdrawn; nothing was changed.", status=CONFLICT)
        return self._decide(part, TableDecisionKind.RESTORE, by, {}, {part.patient_key})

    def _decide(
        self, part: ListedPart, kind: TableDecisionKind, by: By, chosen: Mapping[str, Any], concerned: Iterable[str | None]
    ) -> TableDecision:
        check_words(by)
        row = {
            "part_id": part.id,
            "kind": str(kind),
            "patient_key": None,
            "administration_id": None,
            "cycle": None,
            **chosen,
            "reason": " ".join(by.reason.split()),
            "decided_by": " ".join(by.name.split()),
            "decided_at": by.at,
        }
        with self._database.write() as connection:
            connection.execute(self._sql["insert_decision"], row)
            if kind is TableDecisionKind.ASSIGN:
                connection.execute(self._sql["assign"], row)
            else:
                withdrawn = int(kind is TableDecisionKind.WITHDRAW)
                connection.execute(self._sql["withdraw"], {"part_id": part.id, "withdrawn": withdrawn})
            keys = {key for key in concerned if key is not None}
            self._timers.touch(connection, "dossier", keys, now=by.at, at_once=True)
        return self.decisions(part.id)[-1]


def _part(row: Any) -> TablePart:
    return TablePart(
        id=row.id,
        patient_key=row.patient_key,
        administration_id=row.administration_id,
        cycle=row.cycle,
        received_at=row.received_at,
        digest=bytes(row.digest).hex(),
        fields=bodies.unpack_shared(row.body),
    )


def _listed(row: Any) -> ListedPart:
    values = {name: getattr(row, name) for name in ListedPart.__slots__ if name not in ("withdrawn", "digest")}
    return ListedPart(**values, withdrawn=bool(row.withdrawn), digest=bytes(row.digest).hex())
