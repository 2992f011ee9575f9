"""The story in one file: what happens to one instance, to one quiet subject, to one delivery. READ FIRST.

Every function takes one named noun and gives the next; the ledger is the only thing that remembers between them. ``workers.py``
calls these in loops and catches what they raise; ``workbench`` calls them for people.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.contents import dossier_content, members_of, study_content
from gateway.dicom.compare import differences
from gateway.dicom.reading import read_header
from gateway.errors import Quarantined, Retryable
from gateway.fhir.provenance import instant
from gateway.line import Line
from gateway.model import Record
from gateway.outgoing import produce
from gateway.publish.delivery import Outcome, deliver
from gateway.publish.target import ImageTarget, Target
from gateway.spool.deliveries import DeliveryTicket, Given, InstanceTicket, Variant
from gateway.spool.stages import Compared, Normalised, Ticket
from gateway.spool.subjects import Sealed, SubjectKind, SubjectTicket
from gateway.understanding import Understanding

__all__ = ["Line", "Outcome", "archive", "compare", "process", "produce", "publish", "seal"]

SAME_CONTENT = "The same content as the one in force, in another encoding."


def process(ticket: Ticket, line: Line) -> Normalised:
    """One instance: the file as the scanner sent it -> the record. Raises :class:`~gateway.errors.Quarantined`."""
    record = line.understanding.read(line.original(ticket.day, ticket.digest), ticket.came)
    return _normalised(ticket, record, line.understanding)


def _normalised(ticket: Ticket, record: Record, understanding: Understanding) -> Normalised:
    shadow = understanding.mappings.named(record.shared.mapping).shadow
    return Normalised(ticket=ticket, record=record, patient_key=understanding.patients.of(record.shared), shadow=shadow)


def compare(ticket: Ticket, line: Line) -> Compared | None:
    """Another content of a known SOP Instance UID: is it the same in another encoding, and what does it say?

    None when no content of the UID is in force any more. Raises :class:`OSError` when a file is gone.
    """
    in_force = line.ledger.stages.content_in_force(ticket.sop_instance_uid)
    if in_force is None:
        return None
    header = read_header(line.original(ticket.day, ticket.digest))
    differing = differences(read_header(line.original(in_force.day, in_force.digest)), header)
    reason = f"Another content of this SOP Instance UID is in force. These differ: {', '.join(differing)}. A person decides."
    try:
        record = line.understanding.understand(header, ticket.came)
    except Quarantined as error:
        return Compared(ticket=ticket, same=not differing, reason=f"{reason} {error.reason}", normalised=None)
    understood = _normalised(ticket, record, line.understanding)
    return Compared(ticket=ticket, same=not differing, reason=reason if differing else SAME_CONTENT, normalised=understood)


def seal(ticket: SubjectTicket, line: Line, *, now: float) -> int | None:
    """One quiet subject: its records -> a version, rendered and validated, with a delivery for every target.

    Returns the new version, or None when nothing changed. Raises :class:`~gateway.errors.Quarantined` when the FHIR is not valid.
    """
    gathered = _SEALERS[ticket.kind](ticket, line, instant(now))
    return line.ledger.subjects.seal(ticket, gathered, targets=[target.name for target in line.targets], now=now)


def _seal_study(ticket: SubjectTicket, line: Line, recorded: str) -> Sealed:
    return study_content(ticket, members_of(line.ledger.subjects.study_records(ticket.key)), line, recorded)


def _seal_dossier(ticket: SubjectTicket, line: Line, recorded: str) -> Sealed:
    records = [stored.fields for stored in line.ledger.subjects.dossier_shared(ticket.key)]
    sealed = dossier_content(ticket, records, line, recorded)
    line.ledger.tables.settle(sealed.tables)
    return sealed


_SEALERS: dict[SubjectKind, Callable[[SubjectTicket, Line, str], Sealed]] = {
    SubjectKind.STUDY: _seal_study,
    SubjectKind.DOSSIER: _seal_dossier,
}


def publish(ticket: DeliveryTicket, target: Target, line: Line, *, now: float) -> Outcome:
    """One delivery: what the target does not hold yet is sent, asked back and remembered."""
    return deliver(ticket, target, line.ledger.deliveries, now=now)


def archive(ticket: InstanceTicket, target: ImageTarget, line: Line) -> Given | None:
    """One instance to one DICOM target: the file as the scanner sent it, or normalised, or what a person decided about it.

    Returns what the target holds where that is not the original. What is made for it is noted before it is sent: a kill in between must
    not leave an object there that nobody knows as ours.
    """
    told_off = ticket.variant is Variant.WITHDRAWN or (ticket.variant is Variant.REASSIGNED and not target.normalised)
    file = line.files.locate(ticket.day, ticket.digest) if told_off else line.original(ticket.day, ticket.digest)
    produced = produce(ticket, file, line.understanding, line.ledger, line.original) if target.normalised else None
    if produced is not None or (target.normalised and ticket.variant is Variant.NORMALISED):
        made = Given(digest=(produced or ticket).digest, sop_instance_uid=(produced or ticket).sop_instance_uid)
        if made not in ticket.given and not line.ledger.deliveries.intend(ticket, made):
            raise Retryable("Another worker has taken this delivery over.")
    return target.deliver(ticket, file, produced)
