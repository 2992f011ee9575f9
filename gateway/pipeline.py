"""The story in one file: what happens to one instance, to one quiet subject, to one delivery. READ FIRST.

Every function takes one named noun and gives the next; the ledger is the only thing that remembers between them. ``workers.py``
calls these in loops and catches what they raise; ``workbench`` calls them for people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.fhir.provenance import instant
from gateway.gather.study import Member, gather_study
from gateway.publish.delivery import Outcome, deliver
from gateway.publish.target import ImageTarget, Target
from gateway.spool.deliveries import DeliveryTicket, InstanceTicket
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.stages import Normalised, Ticket
from gateway.spool.subjects import Sealed, SubjectKind, SubjectTicket
from gateway.understanding import Understanding

__all__ = ["Line", "Outcome", "archive", "process", "publish", "seal"]


@dataclass(frozen=True, slots=True)
class Line:
    """The parts of a running gateway that the stages need."""

    understanding: Understanding
    files: SpoolFiles
    ledger: Ledger
    targets: Sequence[Target]  #: FHIR: they get sealed versions
    archives: Sequence[ImageTarget] = ()  #: DICOM: they get the instances themselves


def process(ticket: Ticket, line: Line) -> Normalised:
    """One instance: the file as the scanner sent it -> the record. Raises :class:`~gateway.errors.Quarantined`."""
    record = line.understanding.read(line.files.locate(ticket.day, ticket.digest))
    return Normalised(ticket=ticket, record=record, patient_key=line.understanding.patients.of(record.shared))


def seal(ticket: SubjectTicket, line: Line, *, now: float) -> int | None:
    """One quiet subject: its records -> a version, rendered and validated, with a delivery for every target.

    Returns the new version, or None when nothing changed. Raises :class:`~gateway.errors.Quarantined` when the FHIR is not valid.
    """
    gathered = _SEALERS[ticket.kind](ticket.key, line, instant(now))
    return line.ledger.subjects.seal(ticket, gathered, targets=[target.name for target in line.targets], now=now)


def _seal_study(uid: str, line: Line, recorded: str) -> Sealed:
    subjects, patients = line.ledger.subjects, line.understanding.patients
    members = [
        Member(
            member_id=record.instance_id,
            patient_key=patients.of(record.shared.fields),
            shared=record.shared.fields,
            instance=record.instance,
            held=record.held,
        )
        for record in subjects.study_records(uid)
    ]
    study = gather_study(uid, members)
    shared = {member.shared.key: member.shared for member in members if member.patient_key == study.patient_key}
    shared.update({stored.fields.key: stored.fields for stored in subjects.dossier_shared(study.patient_key)})
    bundle = line.understanding.study_bundle(study, list(shared.values()), recorded=recorded)
    moved = bool(study.hold or study.release)
    return Sealed(
        patient_key=study.patient_key,
        content_hash=bundle.content_hash,
        bundle=bundle.body,
        hold=study.hold,
        release=study.release,
        dossiers=study.other_patients | {study.patient_key} if moved else frozenset(),
        aliases={},
    )


def _seal_dossier(patient_key: str, line: Line, recorded: str) -> Sealed:
    subjects = line.ledger.subjects
    records = [stored.fields for stored in subjects.dossier_shared(patient_key)]
    dossier = line.understanding.dossier(patient_key, records, subjects.aliases(patient_key))
    bundle = line.understanding.renderer.dossier(dossier, recorded=recorded) if dossier.administrations else None
    return Sealed(
        patient_key=patient_key,
        content_hash=bundle.content_hash if bundle else "",
        bundle=bundle.body if bundle else None,
        hold={},
        release=(),
        dossiers=frozenset(),
        aliases=dossier.minted,
    )


_SEALERS: dict[SubjectKind, Callable[[str, Line, str], Sealed]] = {
    SubjectKind.STUDY: _seal_study,
    SubjectKind.DOSSIER: _seal_dossier,
}


def publish(ticket: DeliveryTicket, target: Target, line: Line, *, now: float) -> Outcome:
    """One delivery: what the target does not hold yet is sent, asked back and remembered."""
    return deliver(ticket, target, line.ledger.deliveries, now=now)


def archive(ticket: InstanceTicket, target: ImageTarget, line: Line) -> None:
    """One instance to one DICOM target: the file as the scanner sent it, or what a person decided about it."""
    target.deliver(ticket, line.files.locate(ticket.day, ticket.digest))
