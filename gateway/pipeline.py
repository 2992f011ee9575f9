"""The story in one file: what happens to one instance, to one quiet subject, to one delivery. READ FIRST.

Every function takes one named noun and gives the next; the ledger is the only thing that remembers between them. ``workers.py``
calls these in loops and catches what they raise; ``workbench`` calls them for people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.dicom.compare import differences
from gateway.dicom.reading import read_header
from gateway.errors import Quarantined, Retryable
from gateway.fhir.provenance import instant
from gateway.gather.patient import identifier_of, is_device
from gateway.gather.said import decided_tables, declared
from gateway.gather.study import Member, gather_study
from gateway.keep.originals import Originals
from gateway.model import Bundle, Dossier, PersonsWord, Record, SharedFields
from gateway.outgoing import produce
from gateway.publish.delivery import Outcome, deliver
from gateway.publish.target import ImageTarget, Target
from gateway.r4.bundles import resources_of
from gateway.spool.deliveries import DeliveryTicket, Given, InstanceTicket, Variant
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.stages import Compared, Normalised, Ticket
from gateway.spool.standing import Decision, standing
from gateway.spool.subjects import LastSealed, Sealed, StoredRecord, SubjectKind, SubjectTicket
from gateway.tables.placing import NO_OBJECTS, OTHER_ISSUER, Placed, ToPlace, place
from gateway.understanding import Past, Understanding

__all__ = ["Line", "Outcome", "archive", "compare", "process", "produce", "publish", "seal"]

SAME_CONTENT = "The same content as the one in force, in another encoding."


@dataclass(slots=True)
class Line:
    """The parts of a running gateway that the stages need. ``understanding`` is another one after a deployment of mappings."""

    understanding: Understanding
    files: SpoolFiles
    ledger: Ledger
    targets: Sequence[Target]  #: FHIR: they get sealed versions
    archives: Sequence[ImageTarget] = ()  #: DICOM: they get the instances themselves
    originals: Originals | None = None  #: who fetches back what retention let go

    def original(self, day: str, digest: str) -> Path:
        """The file of an instance. Raises :class:`~gateway.errors.Retryable` when it left the spool and cannot be had now."""
        return self.originals.path(day, digest) if self.originals else self.files.locate(day, digest)


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


def members_of(records: Sequence[StoredRecord]) -> list[Member]:
    """Stored records as gathering sees them."""
    return [
        Member(
            member_id=record.instance_id,
            patient_key=record.shared.patient_key,
            shared=record.shared.fields,
            instance=record.instance,
            held=record.held,
        )
        for record in records
    ]


def study_content(ticket: SubjectTicket, members: Sequence[Member], line: Line, recorded: str) -> Sealed:
    """What a study comes to with these members, given what was sealed and decided before. Changes nothing."""
    subjects, uid = line.ledger.subjects, ticket.key
    decisions = line.ledger.decisions.of_study(uid)
    holds = standing(decisions)
    last = subjects.last_sealed(ticket)
    past = _past(last, decisions, withdrawn=holds.withdrawn)
    if not members:
        return dataclasses.replace(
            _sealed(line.understanding.lost_study(uid, past)), patient_key=last.patient_key if last else None
        )
    study = gather_study(uid, members, holds)
    shared = {stored.fields.key: stored.fields for stored in subjects.dossier_shared(study.patient_key)}
    if not holds.withdrawn or not shared:  # a withdrawn study has no say in who the patient is, if another one tells
        shared |= {member.shared.key: member.shared for member in members if member.patient_key == study.patient_key}
    bundle = line.understanding.study_bundle(study, list(shared.values()), recorded=recorded, past=past)
    moved = bool(study.hold or study.release)
    return dataclasses.replace(
        _sealed(bundle),
        patient_key=study.patient_key,
        hold=study.hold,
        release=study.release,
        dossiers=study.other_patients | {study.patient_key} if moved else frozenset(),
    )


def _seal_dossier(ticket: SubjectTicket, line: Line, recorded: str) -> Sealed:
    records = [stored.fields for stored in line.ledger.subjects.dossier_shared(ticket.key)]
    sealed = dossier_content(ticket, records, line, recorded)
    line.ledger.tables.settle(sealed.tables)
    return sealed


def dossier_content(ticket: SubjectTicket, records: Sequence[SharedFields], line: Line, recorded: str) -> Sealed:
    """What a dossier comes to with these records, given what was sealed and decided before. Changes nothing."""
    subjects, patient_key = line.ledger.subjects, ticket.key
    past = _past(subjects.last_sealed(ticket), line.ledger.decisions.of_dossier(patient_key))
    dossier, records, placed = gathered_dossier(patient_key, records, line)
    past = dataclasses.replace(past, said=_said(dossier, line))
    return dataclasses.replace(
        _sealed(line.understanding.dossier_bundle(dossier, records, recorded=recorded, past=past)),
        patient_key=patient_key,
        aliases=dossier.minted,
        replaced=dossier.replaced,
        active=frozenset(item.key for item in dossier.administrations),
        result_aliases=dossier.minted_results,
        replaced_results=dossier.replaced_results,
        active_results=frozenset(item.key for item in dossier.results),
        tables=placed.outcomes,
    )


def _said(dossier: Dossier, line: Line) -> list[PersonsWord]:
    """What people declared, which tables they assigned, and what of it they took back."""
    tables, facts, key = line.ledger.tables, line.ledger.subjects.facts, dossier.patient_key
    parts = [*tables.of_patient(key), *tables.of_patient(key, withdrawn=True)]
    decisions = {part.id: tables.decisions(part.id) for part in parts}
    known = facts.aliases(key) | facts.result_aliases(key)
    declarations = line.ledger.declarations.of_patient(key, withdrawn=True)
    return [*declared(dossier, declarations, known), *decided_tables(dossier, parts, decisions, known)]


def gathered_dossier(
    patient_key: str, records: Sequence[SharedFields], line: Line
) -> tuple[Dossier, Sequence[SharedFields], Placed]:
    """The dossier of a patient with its tables and declarations; the records and tables that it was gathered from."""
    facts = line.ledger.subjects.facts
    placed = placed_tables(patient_key, records, line)
    records = [*records, *placed.records]
    dossier = line.understanding.dossier(
        patient_key,
        records,
        facts.aliases(patient_key),
        facts.replaced(patient_key),
        known_results=facts.result_aliases(patient_key),
        replaced_results=facts.replaced_results(patient_key),
        declared=line.ledger.declarations.of_patient(patient_key),
    )
    return dossier, records, placed


def placed_tables(patient_key: str, records: Sequence[SharedFields], line: Line) -> Placed:
    """The tables of a patient, bound to the administrations that the objects tell of. Without such objects nothing is published."""
    parts = [
        ToPlace(id=part.id, fields=part.fields, administration_id=part.administration_id, cycle=part.cycle)
        for part in line.ledger.tables.of_patient(patient_key)
    ]
    if is_device(patient_key):
        return Placed(records=tuple(part.fields for part in parts), outcomes={part.id: (None, None) for part in parts})
    if not parts or not records:
        named = identifier_of(patient_key) if parts else None
        elsewhere = bool(named and line.ledger.tables.known_with_id(named[1]))
        return Placed(records=(), outcomes={part.id: (None, OTHER_ISSUER if elsewhere else NO_OBJECTS) for part in parts})
    facts = line.ledger.subjects.facts
    known, replaced = facts.aliases(patient_key), facts.replaced(patient_key)
    dossier = line.understanding.dossier(patient_key, records, known, replaced)
    return place(parts, dossier.administrations, {**replaced, **dossier.replaced}, line.understanding.mappings.codes)


def _past(last: LastSealed | None, decisions: Sequence[Decision], *, withdrawn: bool = False) -> Past:
    return Past(resources=resources_of(last.bundle) if last else (), decisions=decisions, withdrawn=withdrawn)


def _sealed(bundle: Bundle | None) -> Sealed:
    return Sealed(
        patient_key=None,
        content_hash=bundle.content_hash if bundle else "",
        bundle=bundle.body if bundle else None,
        hold={},
        release=(),
        dossiers=frozenset(),
        aliases={},
    )


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
