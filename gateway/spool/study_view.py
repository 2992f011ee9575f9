"""One study as a person sees it: what arrived, whose it is, what is held and why, what was decided, what was published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.spool.standing import Decision, standing, subject_of

NOT_FOUND = 404
UNKNOWN_STUDY = "No study of this Study Instance UID is known."

#: Held objects that are listed one by one; beyond that they are counted.
_MOST_LISTED = 200


def in_force(row: Any) -> bool:
    """Whether an ``instance`` row is the content of its UID that is worked on, published, in shadow, or held for its patient id."""
    return row.state in ("received", "normalised", "shadowed") or row.held_for == "patient"


class StudyView:
    """Reads one study within one view of the ledger."""

    def __init__(
        self, connection: Connection, sql: Mapping[str, sa.TextClause], study_uid: str, decisions: Sequence[Decision]
    ) -> None:
        self._connection = connection
        self._sql = sql
        self._uid = study_uid
        self._decisions = decisions

    def as_json(self) -> JsonObject:
        series = self._series()
        if not series:
            raise Rejected(UNKNOWN_STUDY, status=NOT_FOUND)
        row = next(iter(self._rows("study_row")), None)
        held = self._rows("study_held", limit=_MOST_LISTED)
        return {
            "uid": self._uid,
            "withdrawn": bool(row and row.withdrawn),
            "open": bool(row and row.next_quiet_at is not None),
            "problem": row.problem if row else None,
            "arrivals": [
                {"door": item.door, "calling_ae": item.calling_ae, "objects": item.n, "first_at": item.first_at, "last_at": item.last_at}
                for item in self._rows("study_arrivals")
            ],
            "series": series,
            "patients": self._patients(),
            "held_count": sum(item["states"].get(name, 0) for item in series for name in ("conflict", "quarantined")),
            "held": [
                {"sop_instance_uid": item.sop_instance_uid, "digest": bytes(item.digest).hex(), "state": item.state, "reason": item.reason}
                for item in held
            ],
            "contents": self._contents(),
            "decisions": self._decided(),
            "images": self._images(),
            "versions": [
                {
                    "version": item.version, "state": item.state, "sealed_at": item.sealed_at, "target": item.target,
                    "delivery": item.delivery_state, "reason": item.reason,
                }
                for item in self._rows("study_versions")
            ],
        }  # fmt: skip

    def _rows(self, statement: str, **more: object) -> Sequence[Any]:
        return self._connection.execute(self._sql[statement], {"study_uid": self._uid, **more}).all()

    def _series(self) -> list[JsonObject]:
        found = []
        for uid, rows in groupby(self._rows("study_series"), key=lambda row: str(row.series_uid)):
            states: dict[str, int] = defaultdict(int)
            classes: set[str] = set()
            for row in rows:
                states[row.state] += row.n
                classes.add(row.sop_class_uid)
            found.append({"uid": uid, "sop_classes": sorted(classes), "states": dict(states)})
        return found

    def _patients(self) -> list[JsonObject]:
        groups = self._rows("groups")
        counts: dict[str, int] = defaultdict(int)
        for group in groups:
            counts[group.patient_key] += group.n
        subject = subject_of(counts, standing(self._decisions).subject_key) if counts else None
        return [
            {
                "original_key": group.original_key,
                "patient_key": group.patient_key,
                "objects": group.n,
                "held": group.held,
                "is_subject": group.patient_key == subject,
            }
            for group in groups
        ]

    def _images(self) -> list[JsonObject]:
        """One line for each archive and what it was told: objects by state, and why some wait or are parked."""
        found = []
        for (target, variant), rows in groupby(self._rows("study_images"), key=lambda row: (row.target, row.variant)):
            states: dict[str, int] = defaultdict(int)
            reasons = []
            for row in rows:
                states[row.state] += row.n
                if row.reason:
                    reasons.append({"state": row.state, "reason": row.reason, "objects": row.n})
            found.append({"target": target, "variant": variant, "states": dict(states), "reasons": reasons})
        return found

    def _contents(self) -> list[JsonObject]:
        return [
            {
                "sop_instance_uid": uid,
                "contents": [
                    {
                        "digest": bytes(row.digest).hex(), "state": row.state, "in_force": in_force(row), "reason": row.reason,
                        "size_bytes": row.size_bytes, "transfer_syntax_uid": row.transfer_syntax_uid, "study_uid": row.study_uid,
                        "selectable": bool(row.understood) and not in_force(row) and row.held_for != "comparison",
                    }
                    for row in rows
                ],
            }
            for uid, rows in groupby(self._rows("contents"), key=lambda row: str(row.sop_instance_uid))
        ]  # fmt: skip

    def _decided(self) -> list[JsonObject]:
        undone = {decision.undoes for decision in self._decisions}
        return [
            {
                "id": item.id, "kind": str(item.kind), "reason": item.reason, "decided_by": item.decided_by, "decided_at": item.decided_at,
                "to_key": item.to_key, "sop_instance_uid": item.sop_instance_uid, "digest": item.digest, "undoes": item.undoes,
                "undone": item.id in undone,
            }
            for item in self._decisions
        ]  # fmt: skip
