"""Writes the Radiopharmaceutical Radiation Dose SR of a sample case (PS3.16 TID 10021, 10022, 10023).

Pure. The report repeats the administration of the images under the same event UID, with the measured activities before and
after and a few organ doses, as an injector or a radiopharmacy system would send it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

from pydicom.dataset import Dataset
from pydicom.uid import RadiopharmaceuticalRadiationDoseSRStorage

from gateway.workbench.sample_case import KIDNEY, Case, Code
from gateway.workbench.sample_images import INTRAVENOUS, PROCEDURE, common_header, da, datetime_value, tm

RESIDUAL_MBQ = Decimal("6.3")
MEASURED_BEFORE_S = MEASURED_AFTER_S = 300


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


def administration_report(case: Case) -> Dataset:
    """The whole SR document."""
    dataset = common_header(case, modality="SR", series="Radiopharmaceutical dose", series_number=900, started_at=case.report_at)
    dataset.SOPClassUID = RadiopharmaceuticalRadiationDoseSRStorage
    dataset.SOPInstanceUID = case.uid("rrdsr")
    dataset.InstanceNumber = 1
    dataset.ContentDate, dataset.ContentTime = da(case.report_at), tm(case.report_at)
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.PerformedProcedureCodeSequence = [PROCEDURE.item()]
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = [_dcm("113500", "Radiopharmaceutical Radiation Dose Report").item()]
    dataset.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "10021"
    dataset.ContentTemplateSequence = [template]
    purpose = _sct("262202000", "Therapeutic Intent") if case.tracer.therapy else _sct("261004008", "Diagnostic Intent")
    intent = code(_sct("363703001", "Has Intent"), purpose, relation="HAS CONCEPT MOD")
    dataset.ContentSequence = [
        code(_sct("363589002", "Associated Procedure"), PROCEDURE, relation="HAS CONCEPT MOD", children=[intent]),
        container(_dcm("113502", "Radiopharmaceutical Administration"), [*_administration(case), *_organ_doses(case)]),
    ]
    return dataset


def _administration(case: Case) -> list[Dataset]:
    """TID 10022: what was given, when, how much, by whom."""
    tracer, start = case.tracer, case.administered_at
    decay = Decimal(repr(tracer.decay(MEASURED_BEFORE_S)))
    before = start - dt.timedelta(seconds=MEASURED_BEFORE_S)
    after = start + dt.timedelta(seconds=MEASURED_AFTER_S)
    drawn_mbq = ((case.activity_mbq + RESIDUAL_MBQ / decay) / decay).quantize(Decimal("0.1"))
    return [
        code(_sct("349358000", "Radiopharmaceutical agent"), tracer.agent, children=[
            code(_sct("89457008", "Radionuclide"), tracer.nuclide, relation="HAS PROPERTIES"),
            number(_sct("304283002", "Radionuclide Half Life"), tracer.half_life_s, "s", relation="HAS PROPERTIES"),
        ]),
        uid_reference(_dcm("113503", "Radiopharmaceutical Administration Event UID"), case.uid("administration")),
        date_time(_dcm("123003", "Radiopharmaceutical Start DateTime"), start),
        date_time(_dcm("123004", "Radiopharmaceutical Stop DateTime"), start + dt.timedelta(seconds=tracer.infusion_s)),
        number(_dcm("113507", "Administered activity"), case.activity_mbq, "MBq"),
        number(_dcm("123005", "Radiopharmaceutical Volume"), Decimal(tracer.volume_ml), "cm3"),
        measured(_dcm("113508", "Pre-Administration Measured Activity"), drawn_mbq, before),
        measured(_dcm("113509", "Post-Administration Measured Activity"), RESIDUAL_MBQ, after),
        code(_sct("410675002", "Route of administration"), INTRAVENOUS, children=[
            code(_sct("272737002", "Site of"), _sct("14975008", "Forearm"), relation="HAS PROPERTIES", children=[
                code(_sct("272741003", "Laterality"), _sct("7771000", "Left"), relation="HAS CONCEPT MOD"),
            ]),
        ]),
        person(_dcm("113851", "Irradiation Administering"), "INVENTED^TECHNOLOGIST"),
        text(_dcm("113511", "Radiopharmaceutical Dispense Unit Identifier"), f"SYRINGE-{case.accession_number}"),
    ]  # fmt: skip


def _organ_doses(case: Case) -> list[Dataset]:
    """TID 10023 once per organ; the coefficients are named for what they are."""
    containers = []
    for site, coefficient in case.tracer.organ_dose_mgy_per_mbq.items():
        found = [code(_sct("363698007", "Finding Site"), site, relation="HAS CONCEPT MOD")]
        if site == KIDNEY:
            found.append(code(_sct("272741003", "Laterality"), _sct("51440002", "Bilateral"), relation="HAS CONCEPT MOD"))
        dose_mgy = (coefficient * case.activity_mbq).quantize(Decimal("0.1"))
        source = text(_dcm("121406", "Reference Authority"), "Sample coefficients, not for patients", relation="HAS PROPERTIES")
        found.append(number(_dcm("113518", "Organ Dose"), dose_mgy, "mGy", children=[source]))
        containers.append(container(_dcm("113517", "Organ Dose Information"), found))
    return containers


def _item(relation: str, value_type: str, concept: Code, children: Sequence[Dataset] = ()) -> Dataset:
    """A content item without its value (PS3.3 C.17.3.2)."""
    item = Dataset()
    item.RelationshipType = relation
    item.ValueType = value_type
    item.ConceptNameCodeSequence = [concept.item()]
    if children:
        item.ContentSequence = list(children)
    return item


def container(concept: Code, children: Sequence[Dataset], *, relation: str = "CONTAINS") -> Dataset:
    item = _item(relation, "CONTAINER", concept, children)
    item.ContinuityOfContent = "SEPARATE"
    return item


def code(concept: Code, value: Code, *, relation: str = "CONTAINS", children: Sequence[Dataset] = ()) -> Dataset:
    item = _item(relation, "CODE", concept, children)
    item.ConceptCodeSequence = [value.item()]
    return item


def number(concept: Code, value: Decimal, unit: str, *, relation: str = "CONTAINS", children: Sequence[Dataset] = ()) -> Dataset:
    """A NUM item; ``unit`` is UCUM."""
    item = _item(relation, "NUM", concept, children)
    measured_value = Dataset()
    measured_value.MeasurementUnitsCodeSequence = [Code(value=unit, scheme="UCUM", meaning=unit).item()]
    measured_value.NumericValue = value
    item.MeasuredValueSequence = [measured_value]
    return item


def measured(concept: Code, activity_mbq: Decimal, at: dt.datetime) -> Dataset:
    """An activity with the time at which the dose calibrator read it."""
    device = code(_dcm("113540", "Activity Measurement Device"), _dcm("113541", "Dose Calibrator"), relation="HAS OBS CONTEXT")
    item = number(concept, activity_mbq, "MBq", children=[device])
    item.ObservationDateTime = datetime_value(at)
    return item


def text(concept: Code, value: str, *, relation: str = "CONTAINS") -> Dataset:
    item = _item(relation, "TEXT", concept)
    item.TextValue = value
    return item


def date_time(concept: Code, value: dt.datetime) -> Dataset:
    item = _item("CONTAINS", "DATETIME", concept)
    item.DateTime = datetime_value(value)
    return item


def uid_reference(concept: Code, value: str) -> Dataset:
    item = _item("CONTAINS", "UIDREF", concept)
    item.UID = value
    return item


def person(role: Code, name: str) -> Dataset:
    """TID 1020: a person and the role in the procedure."""
    played = code(_dcm("113875", "Person Role in Procedure"), role, relation="HAS PROPERTIES")
    item = _item("HAS OBS CONTEXT", "PNAME", _dcm("113870", "Person Name"), [played])
    item.PersonName = name
    return item
