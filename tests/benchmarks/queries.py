"""The questions that ``make bench query`` asks, each with many values, so that no answer is just the former one again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tests.benchmarks.query_data import DAYS, FIRST_DAY, PATIENT_SYSTEM, Person

_DOSIMETRY = "http://isobridge.org/fhir/CodeSystem/nm-dosimetry"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_MOST = 200  #: values of one question


@dataclass(frozen=True, slots=True)
class Question:
    """``asks`` makes the address below the endpoint, for one patient."""

    name: str
    asks: Callable[[Person], str]

    def paths(self, people: Sequence[Person]) -> list[str]:
        return list(dict.fromkeys(quote(self.asks(person), safe="/?&=:,") for person in people))


def _month(person: Person) -> tuple[dt.date, dt.date]:
    start = FIRST_DAY + dt.timedelta(days=person.number * 13 % (DAYS - 31))
    return start, start + dt.timedelta(days=30)


def _a_month_of_pet(person: Person) -> str:
    start, end = _month(person)
    return f"ImagingStudy?modality=PT&started=ge{start}&started=lt{end}&_count=50"


def _administrations(person: Person) -> str:
    start, end = _month(person)
    return (
        f"MedicationAdministration?effective-time=ge{start}&effective-time=lt{end}&_count=50"
        "&_include=MedicationAdministration:patient&_include=MedicationAdministration:medication"
    )


def _above(person: Person) -> str:
    return f"Observation?code={_DOSIMETRY}|organ-absorbed-dose&value-quantity=gt{person.number % 8 + 4}&_count=50"


def _suv_of_a_month(person: Person) -> str:
    start, end = _month(person)
    return f"Observation?code={_DCM}|126401&date=ge{start}&date=lt{end}&_sort=-date&_count=50"


def _with_doses(person: Person) -> str:
    start, _ = _month(person)
    code = f"_has:Observation:patient:code={_DOSIMETRY}|organ-absorbed-dose"
    return f"Patient?{code}&_has:ImagingStudy:patient:started=ge{start}&_count=50"


QUESTIONS = (
    Question("study by UID", lambda one: f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{one.uid('1')}"),
    Question("study by SOP instance UID", lambda one: f"ImagingStudy?instance={one.uid('3.7')}"),
    Question("study by accession number", lambda one: f"ImagingStudy?identifier=urn:example:accession|{one.accession}"),
    Question("patient by identifier", lambda one: f"Patient?identifier={PATIENT_SYSTEM}|{one.id}"),
    Question("PET studies of a month", _a_month_of_pet),
    Question("all measurements of a patient", lambda one: f"Observation?patient.identifier={PATIENT_SYSTEM}|{one.id}&_count=100"),
    Question("doses of a patient, newest first", lambda one: f"Observation?patient.identifier={PATIENT_SYSTEM}|{one.id}"
             f"&code={_DOSIMETRY}|organ-absorbed-dose&_sort=-date&_count=50"),
    Question("organ doses above a limit", _above),
    Question("administrations of a month, with patients and drugs", _administrations),
    Question("a study and what was measured in it", lambda one: f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{one.uid('1')}"
             "&_revinclude=Observation:derived-from"),
    Question("SUV measurements of a month, newest first", _suv_of_a_month),
    Question("patients with doses and a study since", _with_doses),
)  # fmt: skip
