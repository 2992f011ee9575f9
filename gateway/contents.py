"""What a quiet subject comes to: its records, the decisions and declarations of people and the tables -> what is to be sealed.

A study is its images and documents; a dossier is what is known of one patient across studies. Nothing here changes the ledger, so that
``replay --dry-run`` and the pages can ask the same question.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gateway.gather.patient import identifier_of, is_device
from gateway.gather.said import assigned, declared
from gateway.gather.study import Member, gather_study
from gateway.line import Line
from gateway.model import Bundle, Dossier, PersonsWord, SharedFields
from gateway.r4.bundles import resources_of
from gateway.spool.standing import Decision, standing
from gateway.spool.subjects import LastSealed, Sealed, StoredRecord, SubjectTicket
from gateway.tables.placing import NO_OBJECTS, OTHER_ISSUER, Placed, ToPlace, place
from gateway.understanding import Past


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
    """What people declared, and which tables they assigned."""
    parts = line.ledger.tables.of_patient(dossier.patient_key)
    decisions = {part.id: line.ledger.tables.decisions(part.id) for part in parts}
    return [
        *declared(dossier, line.ledger.declarations.of_patient(dossier.patient_key)),
        *assigned(dossier, parts, decisions),
    ]


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
