"""The decisions of people, as the page's buttons ask for them: the same functions that the commands call."""

from __future__ import annotations

from gateway.gather.patient import PatientKeys
from gateway.spool.ledger import Ledger
from gateway.workbench import decisions


class PageDecisions:
    def __init__(self, patients: PatientKeys) -> None:
        self._patients = patients

    def accept(self, ledger: Ledger, study_uid: str, *, digest: str | None, reason: str, by: str, now: float) -> str:
        return decisions.decided_line(decisions.accept(ledger, study_uid, digest=digest, reason=reason, by=by, now=now))

    def reassign(
        self, ledger: Ledger, study_uid: str, *, patient_id: str, issuer: str, only_held: bool, reason: str, by: str, now: float
    ) -> str:
        decided = decisions.reassign(
            ledger, self._patients, study_uid, to=patient_id, issuer=issuer, only_held=only_held, reason=reason, by=by, now=now
        )
        return decisions.decided_line(decided)

    def withdraw(self, ledger: Ledger, study_uid: str, *, reason: str, by: str, now: float) -> str:
        return decisions.decided_line(decisions.withdraw(ledger, study_uid, reason=reason, by=by, now=now))

    def undo(self, ledger: Ledger, study_uid: str, *, reason: str, by: str, now: float) -> str:
        return decisions.decided_line(decisions.undo(ledger, study_uid, reason=reason, by=by, now=now))
