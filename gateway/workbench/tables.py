"""Tables for people: what an adapter reads from a file, which parts wait, what they may belong to, what was decided."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.errors import Rejected
from gateway.gather.patient import identifier_of
from gateway.line import Line
from gateway.mapping.language import load
from gateway.model import JsonObject, SharedFields
from gateway.spool.decisions import BAD_REQUEST, By
from gateway.spool.study_view import NOT_FOUND
from gateway.spool.tables import ListedPart, TableDecision
from gateway.tables.cells import MOST_BYTES, TOO_LARGE
from gateway.tables.library import Adapters, load_adapters
from gateway.tables.placing import Candidate, candidates, hint_of, needs_administration
from gateway.tables.selftest import TableTest, part_lines, run_adapter_tests
from gateway.tables.understand import Understood

_SHORTEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientChoice:
    """A patient that a part may belong to, with the administrations that objects tell of."""

    key: str
    words: str
    administrations: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Everything that a person looks at before assigning a part."""

    part: ListedPart
    fields: SharedFields
    patients: tuple[PatientChoice, ...]
    decisions: tuple[TableDecision, ...]

    @property
    def may_be_without(self) -> bool:
        """It tells of its own administration, or needs none."""
        return bool(self.fields.administrations) or not needs_administration(self.fields)


def adapters_of(directory: Path) -> Adapters:
    """The adapters of a folder of mappings. Raises :class:`~gateway.errors.Misconfigured` with all complaints."""
    return load_adapters(directory, load(directory).codes)


def read_file(path: Path) -> bytes:
    """Raises :class:`Rejected` for what is too large to be a table."""
    if path.stat().st_size > MOST_BYTES:
        raise Rejected(f"{path.name}: larger than {MOST_BYTES >> 20} MiB.", status=TOO_LARGE)
    return path.read_bytes()


def preview_lines(understood: Understood) -> Iterator[str]:
    """What an adapter reads from a file."""
    adapter = understood.adapter
    yield f"adapter {adapter.name} {adapter.version}{' (unverified)' if adapter.unverified else ''}: {adapter.title}"
    for part in understood.parts:
        yield from part_lines(part)


def tests_of(adapters: Adapters, name: str | None) -> list[TableTest]:
    """The tests of all adapters, or of one. Raises :class:`Rejected` when there is none of this name."""
    if name is not None:
        adapters = Adapters(adapters=(adapters.named(name),), codes=adapters.codes)
    return run_adapter_tests(adapters)


def listed_lines(parts: Sequence[ListedPart], zone: ZoneInfo) -> Iterator[str]:
    """One line for each part."""
    for part in parts:
        state = "withdrawn" if part.withdrawn else part.waits_for or f"bound to {part.bound_to or 'its patient'}"
        day = dt.datetime.fromtimestamp(part.received_at, zone).strftime("%Y-%m-%d %H:%M")
        yield f"{part.id}  {day}  {part.name}  {part.adapter}  {part.facts} facts  {state}"


def choices(line: Line, part_id: int, *, patient: str | None = None) -> Choices:
    """A part with the patients and administrations that it may belong to. Raises :class:`Rejected` when it is not known."""
    tables = line.ledger.tables
    part, fields = tables.one(part_id)
    keys = [key for key in (part.patient_key, part.stated_key) if key]
    if patient:
        keys = [key for key in (line.understanding.patients.named(patient), patient) if tables.is_known(key)] or keys
        keys += tables.known_with_id(patient)
    elif part.stated_key:
        found = identifier_of(part.stated_key)
        keys += tables.known_with_id(found[1]) if found else []
    known = [key for key in dict.fromkeys(keys) if tables.is_known(key)]
    return Choices(
        part=part,
        fields=fields,
        patients=tuple(_patient(line, key, fields) for key in known),
        decisions=tuple(tables.decisions(part_id)),
    )


def _patient(line: Line, key: str, fields: SharedFields) -> PatientChoice:
    records = [stored.fields for stored in line.ledger.subjects.dossier_shared(key)]
    facts = line.ledger.subjects.facts
    dossier = line.understanding.dossier(key, records, facts.aliases(key), facts.replaced(key))
    return PatientChoice(
        key=key,
        words=_patient_words(key, dossier.patient),
        administrations=tuple(candidates(fields, dossier.administrations, line.understanding.mappings.codes)),
    )


def _patient_words(key: str, patient: JsonObject) -> str:
    name = patient.get("name")
    family = name.get("family") or name.get("text") if isinstance(name, dict) else None
    words = [(identifier_of(key) or ("", key))[1], family, patient.get("birth_date")]
    return ", ".join(str(word) for word in words if word)


def show_lines(found: Choices, zone: ZoneInfo) -> Iterator[str]:
    """A part, its facts, what it may belong to, what was decided."""
    part = found.part
    yield f"table {part.id}: {part.name}, adapter {part.adapter} {part.adapter_version}, by {part.door} from {part.sender or 'here'}"
    yield f"  received {dt.datetime.fromtimestamp(part.received_at, zone).isoformat(timespec='seconds')}, SHA-256 {part.digest}"
    yield "  withdrawn" if part.withdrawn else f"  waits: {part.waits_for}" if part.waits_for else f"  bound to {part.bound_to}"
    yield f"  patient that it names: {part.stated_key or 'none'}"
    hint = hint_of(found.fields)
    if hint:
        yield f"  administration that it names: {hint_words(hint)}"
    for result in found.fields.results:
        yield f"  {fact_words(result)}"
    for issue in found.fields.issues:
        yield f"  {issue.severity}: {issue.field} {issue.reason}"
    for patient in found.patients:
        yield f"patient {patient.key}: {patient.words}"
        for number, candidate in enumerate(patient.administrations, 1):
            yield f"  {number}. {candidate.id}  {candidate.words}{'  (fits)' if candidate.fits else ''}"
    if not found.patients:
        yield "no known patient fits; name one with --patient"
    for decision in found.decisions:
        yield f"{decision_words(decision, zone)}"


def hint_words(hint: JsonObject) -> str:
    agent = (hint.get("agent") or hint.get("radionuclide") or {}).get("text", "unknown agent")
    activity = hint.get("activity")
    amount = f", {activity['value']} {activity['unit']}" if activity else ""
    return f"{agent}{amount}, {hint.get('started_at', 'start unknown')}"


def fact_words(result: JsonObject) -> str:
    where = " ".join(str((result.get(name) or {}).get("text", "")) for name in ("laterality", "region")).strip()
    value = result.get("value")
    told = f"{value['value']} {value['unit']}" if value else f"{len(result['points'])} points" if "points" in result else ""
    return "  ".join(word for word in (str(result["kind"]), where, told, str(result.get("text", ""))) if word)


def decision_words(decision: TableDecision, zone: ZoneInfo) -> str:
    when = dt.datetime.fromtimestamp(decision.decided_at, zone).isoformat(timespec="seconds")
    what = f" to {decision.patient_key}, administration {decision.administration_id or 'none'}" if decision.patient_key else ""
    cycle = f", cycle {decision.cycle}" if decision.cycle is not None else ""
    return f"{when}  {decision.kind}{what}{cycle}  by {decision.decided_by}: {decision.reason}"


def assign(
    line: Line, part_id: int, by: By, *, patient: str | None, administration: str | None, cycle: int | None
) -> TableDecision:
    """``patient``: an id of the site, or a key with its system; ``administration``: its number in ``show``, or first digits of its id.

    Raises :class:`Rejected` when either is not known, or not the only one.
    """
    found = choices(line, part_id, patient=patient)
    if len(found.patients) != 1:
        told = "No known patient fits" if not found.patients else "Several known patients fit"
        raise Rejected(f"{told}; name one with --patient as 'isobridge assign show' prints it.", status=NOT_FOUND)
    chosen = found.patients[0]
    identifier = _administration(chosen, administration) if administration else None
    if identifier is None and not found.may_be_without:
        fitting = [item.id for item in chosen.administrations]
        if len(fitting) != 1:
            raise Rejected("Say which administration it belongs to (--administration).", status=BAD_REQUEST)
        identifier = fitting[0]
    return line.ledger.tables.assign(part_id, by, patient_key=chosen.key, administration_id=identifier, cycle=cycle)


def _administration(patient: PatientChoice, named: str) -> str:
    if named.isdigit() and 1 <= int(named) <= len(patient.administrations) and len(named) < _SHORTEST:
        return patient.administrations[int(named) - 1].id
    found = [item.id for item in patient.administrations if len(named) >= _SHORTEST and item.id.startswith(named)]
    if len(found) != 1:
        raise Rejected("This patient has no such administration, or several; see 'isobridge assign show'.", status=NOT_FOUND)
    return found[0]
