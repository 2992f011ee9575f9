"""Decisions of people about studies: stored as rows, taken up at once, never an edit without trace.

Each decision is one transaction: its row, the patient keys and holds that follow from it, what DICOM targets must be told, and the
timers of the study and of every dossier it concerns. A kill leaves all of it or nothing. What it means for FHIR comes out when the
subjects are gathered again. Every refusal is :class:`~gateway.errors.Rejected` with an HTTP status, and has changed nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.database import Database
from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.spool.announcements import tell_dicom_targets, tell_of_content
from gateway.spool.standing import Decision, DecisionKind, Standing, hold_reason, standing, subject_of
from gateway.spool.study_view import NOT_FOUND, UNKNOWN_STUDY, StudyView, in_force
from gateway.spool.timers import Timers

BAD_REQUEST, CONFLICT = 400, 409

_MOST_WORDS = 1000

NOT_IN_FORCE = "By a person's decision another content of this SOP Instance UID is in force."


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who decides, why and when. The name and the reason are published in a Provenance."""

    name: str
    reason: str
    at: float  #: seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """What a decision will say, and which studies and dossiers it concerns beyond those that it moves."""

    kind: DecisionKind
    moved: tuple[str, ...] = ()
    to_key: str | None = None
    subject_key: str | None = None
    sop_instance_uid: str | None = None
    digest: str | None = None
    former_digest: str | None = None
    undoes: Decision | None = None
    studies: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The objects in force of one study that name one patient."""

    original_key: str
    patient_key: str
    count: int


_Think = Callable[[Connection, Standing], _Draft]


class Decisions:
    def __init__(self, database: Database, timers: Timers) -> None:
        self._database = database
        self._timers = timers
        self._sql = database.statements(Path(__file__).parent / "sql" / "decisions.sql")
        self._sql["of_studies"] = self._sql["of_studies"].bindparams(sa.bindparam("uids", expanding=True))

    def of_study(self, study_uid: str) -> list[Decision]:
        """All decisions about one study, oldest first; those that were undone too."""
        with self._database.read() as connection:
            return self._of_study(connection, study_uid)

    def of_dossier(self, patient_key: str) -> list[Decision]:
        """All decisions that concerned one patient, oldest first."""
        with self._database.read() as connection:
            return [_decision(row) for row in connection.execute(self._sql["of_dossier"], {"patient_key": patient_key})]

    def overview(self, study_uid: str) -> JsonObject:
        """Everything a person looks at before deciding about a study. Raises :class:`Rejected` when it is not known."""
        with self._database.read() as connection:
            return StudyView(connection, self._sql, study_uid, self._of_study(connection, study_uid)).as_json()

    def standings(self, connection: Connection, study_uids: Iterable[str]) -> dict[str, Standing]:
        """What holds for those of the studies that people decided about."""
        found: dict[str, list[Decision]] = defaultdict(list)
        for row in connection.execute(self._sql["of_studies"], {"uids": sorted(set(study_uids))}):
            found[row.study_uid].append(_decision(row))
        return {uid: standing(decisions) for uid, decisions in found.items()}

    def accept(self, study_uid: str, by: By) -> Decision:
        """What is held for its patient id belongs to the study's patient after all."""

        def think(connection: Connection, now: Standing) -> _Draft:
            groups = self._groups(connection, study_uid)
            subject = _subject(groups, now)
            moved = tuple(sorted({group.original_key for group in groups if group.patient_key != subject}))
            if not moved:
                raise Rejected("Nothing of this study is held for its patient id; nothing was changed.", status=CONFLICT)
            return _Draft(kind=DecisionKind.ACCEPT, moved=moved, to_key=subject, subject_key=subject)

        return self._decide(study_uid, by, think)

    def accept_content(self, study_uid: str, digest: str, by: By) -> Decision:
        """Of several contents of one SOP Instance UID the one with this digest (or its first digits, 4 or more) is right."""

        def think(connection: Connection, now: Standing) -> _Draft:
            contents = connection.execute(self._sql["contents"], {"study_uid": study_uid}).all()
            chosen = _only([row for row in contents if len(digest) >= 4 and bytes(row.digest).hex().startswith(digest.lower())])
            former = next((row for row in contents if row.sop_instance_uid == chosen.sop_instance_uid and in_force(row)), None)
            _check_content(chosen, former)
            return _Draft(
                kind=DecisionKind.CONTENT,
                sop_instance_uid=chosen.sop_instance_uid,
                digest=bytes(chosen.digest).hex(),
                former_digest=bytes(former.digest).hex() if former else None,
                studies=frozenset(row.study_uid for row in (chosen, former) if row is not None),
            )

        return self._decide(study_uid, by, think)

    def reassign(self, study_uid: str, to_key: str, by: By, *, only_held: bool = False) -> Decision:
        """The study, or only what is held of it, belongs to another patient."""

        def think(connection: Connection, now: Standing) -> _Draft:
            groups = self._groups(connection, study_uid)
            subject = _subject(groups, now)
            moving = [group for group in groups if not (only_held and group.patient_key == subject)]
            if not moving:
                raise Rejected("Nothing of this study is held for its patient id; nothing was changed.", status=CONFLICT)
            if all(group.patient_key == to_key for group in moving):
                raise Rejected("It belongs to that patient already; nothing was changed.", status=CONFLICT)
            return _Draft(
                kind=DecisionKind.REASSIGN,
                moved=tuple(sorted({group.original_key for group in moving})),
                to_key=to_key,
                subject_key=subject if only_held else to_key,
            )

        return self._decide(study_uid, by, think)

    def withdraw(self, study_uid: str, by: By) -> Decision:
        """The study must not be published; what was published of it is marked as cancelled or entered in error."""

        def think(_connection: Connection, now: Standing) -> _Draft:
            if now.withdrawn:
                raise Rejected("This study is withdrawn already; nothing was changed.", status=CONFLICT)
            return _Draft(kind=DecisionKind.WITHDRAW)

        return self._decide(study_uid, by, think)

    def undo(self, study_uid: str, by: By) -> Decision:
        """The latest decision in force about this study holds no longer."""

        def think(connection: Connection, now: Standing) -> _Draft:
            if not now.in_force:
                raise Rejected("No decision about this study is in force; nothing was changed.", status=CONFLICT)
            last = now.in_force[-1]
            studies: set[str] = set()
            if last.kind is DecisionKind.CONTENT:
                contents = connection.execute(self._sql["contents"], {"study_uid": study_uid}).all()
                studies = {row.study_uid for row in contents if row.sop_instance_uid == last.sop_instance_uid}
            return _Draft(
                kind=DecisionKind.UNDO,
                sop_instance_uid=last.sop_instance_uid,
                digest=last.former_digest,
                former_digest=last.digest,
                undoes=last,
                studies=frozenset(studies),
            )

        return self._decide(study_uid, by, think)

    def _decide(self, study_uid: str, by: By, think: _Think) -> Decision:
        check_words(by)
        with self._database.write() as connection:
            if connection.execute(self._sql["study_known"], {"study_uid": study_uid}).first() is None:
                raise Rejected(UNKNOWN_STUDY, status=NOT_FOUND)
            # Touching the study first makes workers that store records of it wait for this transaction, and us for theirs.
            self._timers.touch(connection, "study", [study_uid], now=by.at, at_once=True)
            draft = think(connection, standing(self._of_study(connection, study_uid)))
            decision = self._insert(connection, study_uid, draft, by)
            self._apply(connection, decision, draft, by.at)
            return decision

    def _insert(self, connection: Connection, study_uid: str, draft: _Draft, by: By) -> Decision:
        row = {
            "study_uid": study_uid,
            "kind": str(draft.kind),
            "reason": " ".join(by.reason.split()),
            "decided_by": " ".join(by.name.split()),
            "decided_at": by.at,
            "moved": json.dumps(draft.moved),
            "to_key": draft.to_key,
            "subject_key": draft.subject_key,
            "sop_instance_uid": draft.sop_instance_uid,
            "digest": bytes.fromhex(draft.digest) if draft.digest else None,
            "former_digest": bytes.fromhex(draft.former_digest) if draft.former_digest else None,
            "undoes": draft.undoes.id if draft.undoes else None,
        }
        identifier = connection.execute(self._sql["insert_decision"], row).scalar_one()
        return next(item for item in self._of_study(connection, study_uid) if item.id == identifier)

    def _apply(self, connection: Connection, decision: Decision, draft: _Draft, now: float) -> None:
        """Everything that follows from the decision, short of FHIR."""
        studies = draft.studies | {decision.study_uid}
        concerned = {group.patient_key for uid in studies for group in self._groups(connection, uid)}
        if draft.sop_instance_uid is not None:
            self._swap_contents(connection, decision, now)
        for uid in sorted(studies):
            concerned |= self._settle(connection, uid, now)
        holds = standing(self._of_study(connection, decision.study_uid))
        tell_dicom_targets(connection, self._sql, decision, draft.undoes, holds, now=now)
        for key in sorted(concerned):
            connection.execute(self._sql["insert_decision_dossier"], {"decision_id": decision.id, "patient_key": key})
        self._timers.touch(connection, "study", studies - {decision.study_uid}, now=now, at_once=True)
        self._timers.touch(connection, "dossier", concerned, now=now, at_once=True)

    def _settle(self, connection: Connection, study_uid: str, now: float) -> set[str]:
        """Bring keys, holds and the study's row in line with the decisions in force. Returns the patients concerned."""
        holds = standing(self._of_study(connection, study_uid))
        named = {"study_uid": study_uid}
        concerned: set[str] = set()
        for row in connection.execute(self._sql["shared_keys"], named).all():
            effective = holds.effective(row.original_key)
            if effective != row.patient_key:
                concerned |= {effective, row.patient_key}
                moved = {**named, "original_key": row.original_key, "patient_key": effective}
                connection.execute(self._sql["move_shared"], moved)
        connection.execute(
            self._sql["settle_study"], {**named, "decided_key": holds.subject_key, "withdrawn": int(holds.withdrawn)}
        )
        groups = self._groups(connection, study_uid)
        if groups:
            subject = _subject(groups, holds)
            connection.execute(self._sql["release_subject"], {**named, "subject_key": subject})
            for key in {group.patient_key for group in groups} - {subject}:
                held = {**named, "patient_key": key, "reason": hold_reason(key, holds.keys)}
                connection.execute(self._sql["hold_others"], held)
        return concerned | {group.patient_key for group in groups}

    def _swap_contents(self, connection: Connection, decision: Decision, now: float) -> None:
        """Put one content in force instead of another, here and at the DICOM targets that hold the former."""
        contents = {
            bytes(row.digest).hex(): row.id
            for row in connection.execute(self._sql["contents"], {"study_uid": decision.study_uid})
            if row.sop_instance_uid == decision.sop_instance_uid
        }
        former, chosen = contents.get(decision.former_digest or ""), contents.get(decision.digest or "")
        if former is not None:
            connection.execute(self._sql["set_aside"], {"id": former, "reason": NOT_IN_FORCE})
        if chosen is not None:
            connection.execute(self._sql["put_in_force"], {"id": chosen})
        if former is not None:
            tell_of_content(connection, self._sql, former, chosen, now=now)

    def _groups(self, connection: Connection, study_uid: str) -> list[_Group]:
        rows = connection.execute(self._sql["groups"], {"study_uid": study_uid})
        return [_Group(original_key=row.original_key, patient_key=row.patient_key, count=row.n) for row in rows]

    def _of_study(self, connection: Connection, study_uid: str) -> list[Decision]:
        return [_decision(row) for row in connection.execute(self._sql["of_studies"], {"uids": [study_uid]})]


def check_words(by: By) -> None:
    """Name and reason go into FHIR: a text that no resource may hold would keep the study from being published."""
    for words in (by.name, by.reason):
        if not words.split():
            raise Rejected("A decision needs a reason and a name.", status=BAD_REQUEST)
        if len(words) > _MOST_WORDS or not all(word.isprintable() for word in words.split()):
            raise Rejected(f"Reason and name may have {_MOST_WORDS} printable characters at most.", status=BAD_REQUEST)


def _subject(groups: Sequence[_Group], holds: Standing) -> str:
    """The study's patient. Raises :class:`Rejected` when none of its objects could be read yet."""
    if not groups:
        raise Rejected("Nothing of this study could be understood yet; nothing was changed.", status=CONFLICT)
    counts: dict[str, int] = defaultdict(int)
    for group in groups:
        counts[group.patient_key] += group.count
    return subject_of(counts, holds.subject_key)


def _only(found: Sequence[Any]) -> Any:
    if not found:
        raise Rejected("No content of this digest is held in this study; see 'isobridge study show'.", status=NOT_FOUND)
    if len(found) > 1:
        raise Rejected("Several contents have a digest that begins like this; give more of its digits.", status=BAD_REQUEST)
    return found[0]


def _check_content(chosen: Any, former: Any) -> None:
    if in_force(chosen):
        raise Rejected("This content is in force already; nothing was changed.", status=CONFLICT)
    if former is not None and former.state == "shadowed":
        raise Rejected("This object is in shadow: approve its scanner or mapping first; nothing was changed.", status=CONFLICT)
    if chosen.held_for == "comparison" or (former is not None and former.state == "received"):
        raise Rejected("The contents are still being read and compared; try again in a moment.", status=CONFLICT)
    if not chosen.understood:
        raise Rejected(
            "This content could not be understood, so it cannot be put in force; nothing was changed.", status=CONFLICT
        )


def _decision(row: Any) -> Decision:
    values = dict(row._mapping)
    values["kind"] = DecisionKind(row.kind)
    values["moved"] = tuple(json.loads(row.moved))
    for name in ("digest", "former_digest"):
        values[name] = bytes(values[name]).hex() if values[name] is not None else None
    return Decision(**values)
