"""Storage commitment, the part in the worker: judges what waits, and brings answers on an association of our own.

Nothing is remembered here: what stands in the ledger is taken up again after any end of this process. An answer that was sent and whose
confirmation was lost is sent again; the asker knows it by its transaction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import structlog
from pynetdicom import AE, build_context, build_role
from pynetdicom.dsutils import decode

from gateway.dicom.commitment import PUSH_MODEL, TRANSFER_SYNTAXES, WELL_KNOWN_INSTANCE
from gateway.errors import Retryable
from gateway.receive.commitment import report_of, told
from gateway.spool.commitments import Commitments, Ticket, judge

_log = structlog.get_logger()

_POLL_SECS = 1.0
_LEASE_SECS = 120.0
_CONNECT_SECS, _ACSE_SECS, _DIMSE_SECS = 10.0, 30.0, 60.0
_FIRST_RETRY_SECS, _LAST_RETRY_SECS = 10.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterSettings:
    archives: tuple[str, ...]  #: the targets whose word counts
    peers: Mapping[str, str]  #: AE title -> host:port
    wait_secs: float
    retry_for_secs: float


class Reporter:
    """See the module. ``call`` brings one answer and says what went wrong, or None."""

    def __init__(
        self,
        rows: Commitments,
        settings: ReporterSettings,
        *,
        call: Callable[[Ticket, str], str | None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._call = call or bring
        self._now = now

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        while not stop.is_set():
            try:
                is_busy = self.look_at_one() or self.report_one()
            except Retryable as error:
                _log.warning("ledger_waits", stage="commitment", reason=error.reason)
                is_busy = False
            if not is_busy:
                stop.wait(_POLL_SECS)

    def look_at_one(self) -> bool:
        """Judge the objects of one request that is due. False when none is."""
        ticket = self._rows.lease("waiting", now=self._now(), lease_secs=_LEASE_SECS)
        if ticket is None:
            return False
        now = self._now()
        waited = now - ticket.asked_at
        missing = [item.sop_instance_uid for item, known in zip(ticket.references, ticket.outcomes, strict=True) if known is None]
        contents = self._rows.contents(missing, self._settings.archives)
        outcomes = [
            judge(
                item.sop_class_uid,
                contents.get(item.sop_instance_uid, ()),
                waited_secs=waited,
                wait_secs=self._settings.wait_secs,
            )
            if known is None
            else known
            for item, known in zip(ticket.references, ticket.outcomes, strict=True)
        ]
        self._rows.looked_at(ticket, outcomes, now=now, next_at=now + min(max(waited / 10, 1.0), 60.0))
        return True

    def report_one(self) -> bool:
        """Bring one answer whose association has ended. False when none is due."""
        ticket = self._rows.lease("ready", now=self._now(), lease_secs=_LEASE_SECS)
        if ticket is None:
            return False
        address = self._settings.peers.get(ticket.calling_ae)
        if address is None:
            reason = "its association has ended, and receive.storage_commitment.peers names no address for it"
            self._rows.park(ticket, reason, now=self._now())
            _log.error("commitment_parked", action="commitment_parked", calling_ae=ticket.calling_ae, reason=reason)
            return True
        problem = self._call(ticket, address)
        now = self._now()
        if problem is None:
            told(ticket, "new association")
            self._rows.reported(ticket, now=now)
        elif now - (ticket.ready_at or now) >= self._settings.retry_for_secs:
            self._rows.park(ticket, problem, now=now)
            _log.error("commitment_parked", action="commitment_parked", calling_ae=ticket.calling_ae, reason=problem)
        else:
            self._rows.retry(ticket, problem, at=now + min(_FIRST_RETRY_SECS * 2 ** min(ticket.attempts, 20), _LAST_RETRY_SECS))
        return True


def bring(ticket: Ticket, address: str) -> str | None:
    """Associate as SCP of storage commitment (PS3.4 J.3.3), report, release; returns what went wrong, or None."""
    host, _, port = address.rpartition(":")
    entity = AE(ae_title=ticket.called_ae or "ISOBRIDGE")
    entity.connection_timeout, entity.acse_timeout, entity.dimse_timeout = _CONNECT_SECS, _ACSE_SECS, _DIMSE_SECS
    association = entity.associate(
        host.strip("[]"),
        int(port),
        contexts=[build_context(PUSH_MODEL, list(TRANSFER_SYNTAXES))],
        ae_title=ticket.calling_ae,
        ext_neg=[build_role(PUSH_MODEL, scp_role=True)],
    )
    if not association.is_established:
        return f"{ticket.calling_ae} at {address} does not accept an association"
    try:
        return _report(association, ticket)
    finally:
        if association.is_established:
            association.release()


def _report(association: Any, ticket: Ticket) -> str | None:
    contexts: Sequence[Any] = association.accepted_contexts
    if not contexts:
        return f"{ticket.calling_ae} does not accept storage commitment on the association that we open"
    for context in contexts:
        context._as_scp = True  # many peers answer no role selection and play their part all the same
    event_type, encode = report_of(ticket)
    information = decode(BytesIO(encode(False)), True, True)
    try:
        answer, _ = association.send_n_event_report(information, event_type, PUSH_MODEL, WELL_KNOWN_INSTANCE)
    except (RuntimeError, ValueError):  # pynetdicom: the association has ended, or the context does not serve
        return f"{ticket.calling_ae} ended the association before the answer"
    status = answer.get("Status")
    if status is None:
        return f"{ticket.calling_ae} did not confirm the answer"
    return None if status == 0 else f"{ticket.calling_ae} answered the answer with {int(status):04X}"
