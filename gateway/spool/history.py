"""Which mappings are in force, since when, by whom and why; and which were before. The files stand in ``mapping_versions``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gateway.database import Database
from gateway.errors import Rejected
from gateway.spool.decisions import CONFLICT, By, check_words


class PutKind(StrEnum):
    FIRST = "first"  #: what the folder of mappings held when the installation first started
    DEPLOY = "deploy"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """One version put in force. It holds until the next row."""

    id: int
    version: str
    kind: PutKind
    since: float  #: seconds since 1970
    put_by: str
    reason: str


class MappingHistory:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = database.statements(Path(__file__).parent / "sql" / "history.sql")

    def in_force(self) -> InForce | None:
        """What holds now; None before the first start."""
        with self._database.read() as connection:
            row = connection.execute(self._sql["in_force"]).first()
            return _in_force(row) if row else None

    def listed(self, *, limit: int = 100) -> list[InForce]:
        """The latest first."""
        with self._database.read() as connection:
            return [_in_force(row) for row in connection.execute(self._sql["listed"], {"limit": limit})]

    def put(self, version: str, kind: PutKind, by: By, *, after: InForce | None) -> InForce:
        """Put a version in force, if what was ``after`` still is. Raises :class:`Rejected` when somebody else was faster."""
        check_words(by)
        after_id = after.id if after else 0
        row = {
            "next_id": after_id + 1,
            "after_id": after_id,
            "version": version,
            "kind": str(kind),
            "since": by.at,
            "put_by": by.name,
            "reason": by.reason,
        }
        with self._database.write() as connection:
            if connection.execute(self._sql["put"], row).rowcount != 1:
                raise Rejected("Other mappings were put in force meanwhile; nothing was changed. Look again.", status=CONFLICT)
        return InForce(id=after_id + 1, version=version, kind=kind, since=by.at, put_by=by.name, reason=by.reason)


def _in_force(row: object) -> InForce:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    return InForce(**{**values, "kind": PutKind(values["kind"])})
