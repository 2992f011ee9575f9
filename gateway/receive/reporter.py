"""Storage commitment, the part in the worker: judges what waits, and brings answers on an association of our own.

Nothing is remembered here: what stands in the ledger is taken up again after any end of this process. An answer that was sent and whose
confirmation was lost is sent again; the asker knows it by its transaction. Before "committed" is said the archive is asked back, each time:
what it held when it was delivered somebody may have deleted since.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import structlog
from pynetdicom import AE, build_context, build_role
from pynetdicom.dsutils import decode

from gateway.dicom.commitment import PROCESSING_FAILURE, PUSH_MODEL, TRANSFER_SYNTAXES, WELL_KNOWN_INSTANCE
from gateway.errors import GatewayError, Retryable
from gateway.receive.commitment import report_of, told
from gateway.spool.commitments import COMMITTED, Commitments, Copy, Ticket, judge

_log = structlog.get_logger()

_POLL_SECS = 1.0
_LEASE_SECS = 120.0
_CONNECT_SECS, _ACSE_SECS, _DIMSE_SECS = 10.0, 30.0, 60.0
_ASK_PARALLEL = 4
#: Between two looks at the lease.
_ASK_TOGETHER = 200
_FIRST_RETRY_SECS, _LAST_RETRY_SECS = 10.0, 3600.0


#: Asks an archive whether it holds a content now, byte for byte. Raises a :class:`~gateway.errors.GatewayError` when it cannot tell.
Holds = Callable[[Copy], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterSettings:
    peers: Mapping[str, str]  #: AE title -> host:port
    wait_secs: float
    retry_for_secs: float


class Reporter:
    """See the module. ``archives``: whose word counts. ``call`` brings one answer and says what went wrong, or None."""

    def __init__(
        self,
        rows: Commitments,
        settings: ReporterSettings,
        archives: Mapping[str, Holds],
        *,
        call: Callable[[Ticket, str], str | None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._archives = archives
        self._call = call or bring
        self._now = now
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set."""
        self._stop = stop
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
        outcomes = self._judged(ticket, may_trust=False)
        if outcomes is not None:
            now = self._now()
            next_at = now + min(max((now - ticket.asked_at) / 10, 1.0), 60.0)
            self._rows.looked_at(ticket, outcomes, now=now, next_at=next_at)
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
        outcomes = self._judged(ticket, may_trust=ticket.is_fresh(self._now()))
        if outcomes is None:
            return True
        if tuple(outcomes) != ticket.outcomes:  # kept first: what is told must be what people can look up
            self._rows.looked_at(ticket, outcomes, now=self._now(), next_at=self._now())
            return True
        if not self._rows.stands(ticket):  # asking the archives may have taken minutes
            self._rows.look_again(ticket, now=self._now())
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

    def _judged(self, ticket: Ticket, *, may_trust: bool) -> list[int | None] | None:
        """What to answer now; nothing when this must stop, or another works on it. ``may_trust``: archives were asked a moment ago."""
        waited = self._now() - ticket.asked_at
        contents = self._rows.contents((item.sop_instance_uid for item in ticket.references), list(self._archives))
        outcomes = [
            judge(
                item.sop_class_uid,
                contents.get(item.sop_instance_uid, ()),
                waited_secs=waited,
                wait_secs=self._settings.wait_secs,
            )
            for item in ticket.references
        ]
        if may_trust:  # then a failure may be what they said
            return [known if found == COMMITTED else found for found, known in zip(outcomes, ticket.outcomes, strict=True)]
        if None in outcomes:
            return outcomes
        committed = {
            item.sop_instance_uid for item, outcome in zip(ticket.references, outcomes, strict=True) if outcome == COMMITTED
        }
        words = self._ask_archives(ticket, committed)
        if words is None:
            return None
        unknown = PROCESSING_FAILURE if waited >= self._settings.wait_secs else None
        meaning = {True: COMMITTED, False: PROCESSING_FAILURE, None: unknown}
        return [
            meaning[words[item.sop_instance_uid]] if outcome == COMMITTED else outcome
            for item, outcome in zip(ticket.references, outcomes, strict=True)
        ]

    def _ask_archives(self, ticket: Ticket, uids: Collection[str]) -> dict[str, bool | None] | None:
        """For each object whether some archive holds it now; None for one: that cannot be told just now."""
        words: dict[str, bool | None] = dict.fromkeys(uids, False)
        copies = self._rows.copies(uids, list(self._archives))
        silent: set[str] = set()  # archives that gave no answer: the rest is not asked of them
        with ThreadPoolExecutor(max_workers=_ASK_PARALLEL, thread_name_prefix="commitment") as pool:
            for start in range(0, len(copies), _ASK_TOGETHER):
                if self._stop.is_set() or not self._rows.renew(ticket, until=self._now() + _LEASE_SECS):
                    return None
                group = copies[start : start + _ASK_TOGETHER]
                for copy, word in zip(group, pool.map(partial(self._ask, silent), group), strict=True):
                    known = words[copy.sop_instance_uid]
                    words[copy.sop_instance_uid] = True if known or word else None if word is None else known
        return words

    def _ask(self, silent: set[str], copy: Copy) -> bool | None:
        if copy.archive in silent:
            return None
        try:
            return self._archives[copy.archive](copy)
        except GatewayError as error:
            silent.add(copy.archive)
            _log.warning("archive_unasked", stage="commitment", target=copy.archive, reason=error.reason)
            return None


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
