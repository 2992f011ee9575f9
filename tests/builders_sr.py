"""Dose reports of X-ray systems and of dose software as whole objects: built item by item, written by pydicom, read back by the tests.

PS3.16 TID 10011 (CT), TID 10040 (enhanced), TID 10030 (patient). The patient, study and dates are those of the sample case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedXRayRadiationDoseSRStorage, PatientRadiationDoseSRStorage, XRayRadiationDoseSRStorage

from gateway.workbench.sample_case import Code
from gateway.workbench.sample_images import common_header, da, tm
from gateway.workbench.sample_report import code, container, date_time, number, person, text, uid_reference
from tests.builders import CASE, uid, with_overrides

SCT_CT = Code(value="77477000", scheme="SCT", meaning="Computed Tomography X-Ray")


def dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


def sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


def table(concept: Code, columns: Sequence[tuple[Code, str]], rows: Sequence[Sequence[str]]) -> Dataset:
    """A TABLE item (PS3.3 C.18.10): columns with name and UCUM unit, each cell a number."""
    item = container(concept, [])
    del item.ContinuityOfContent
    item.ValueType = "TABLE"
    item.NumberOfTableRows, item.NumberOfTableColumns = len(rows), len(columns)
    item.TableColumnDefinitionSequence = []
    for place, (name, unit) in enumerate(columns, start=1):
        column = Dataset()
        column.TableColumnNumber = place
        column.ConceptNameCodeSequence = [name.item()]
        column.MeasurementUnitsCodeSequence = [Code(value=unit, scheme="UCUM", meaning=unit).item()]
        item.TableColumnDefinitionSequence.append(column)
    item.CellValuesSequence = []
    for line, cells in enumerate(rows, start=1):
        for place, value in enumerate(cells, start=1):
            cell = Dataset()
            cell.TableRowNumber, cell.TableColumnNumber = line, place
            cell.SelectorAttributeVR, cell.SelectorFDValue = "FD", float(value)
            item.CellValuesSequence.append(cell)
    return item


def _report(name: str, class_uid: str, concept: Code, template: str, items: list[Dataset], overrides: dict[str, Any]) -> Dataset:
    dataset = common_header(CASE, modality="SR", series=name, series_number=901, started_at=CASE.report_at)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.InstanceNumber = class_uid, uid(name), 1
    dataset.ContentDate, dataset.ContentTime = da(CASE.report_at), tm(CASE.report_at)
    dataset.CompletionFlag, dataset.VerificationFlag = "COMPLETE", "UNVERIFIED"
    dataset.ReferencedPerformedProcedureStepSequence, dataset.PerformedProcedureCodeSequence = [], []
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [concept.item()]
    named = Dataset()
    named.MappingResource, named.TemplateIdentifier = "DCMR", template
    dataset.ContentTemplateSequence = [named]
    dataset.ContentSequence = items
    return with_overrides(dataset, overrides)


def _observer() -> list[Dataset]:
    """TID 1002: the system, as the header of the same object names it."""
    told = (("121013", "Device Observer Name", "CT 1"), ("121014", "Device Observer Manufacturer", "Example"),
            ("121015", "Device Observer Model Name", "CT-1"), ("121016", "Device Observer Serial Number", "S-42"))  # fmt: skip
    return [
        code(dcm("121005", "Observer Type"), dcm("121007", "Device"), relation="HAS OBS CONTEXT"),
        uid_reference(dcm("121012", "Device Observer UID"), uid("scanner")),
        *(text(dcm(value, meaning), words, relation="HAS OBS CONTEXT") for value, meaning, words in told),
    ]


def ct_dose_report(*, authorizer: str | None = "INVENTED^PHYSICIAN", **overrides: Any) -> Dataset:
    """The CT of the case's study (TID 10011): 412.5 mGy.cm in one event, by a system that names itself, who authorised it is told."""
    event = container(
        dcm("113819", "CT Acquisition"),
        [
            code(sct("123014", "Target Region"), sct("38266002", "Entire body")),
            uid_reference(dcm("113769", "Irradiation Event UID"), uid("ct-event")),
            container(
                dcm("113829", "CT Dose"),
                [
                    number(dcm("113830", "Mean CTDIvol"), Decimal("4.2"), "mGy"),
                    number(dcm("113838", "DLP"), Decimal("412.5"), "mGy.cm"),
                ],
            ),
        ],
    )
    items = [
        code(dcm("121058", "Procedure reported"), SCT_CT, relation="HAS CONCEPT MOD"),
        *_observer(),
        date_time(dcm("113809", "Start of X-Ray Irradiation"), CASE.pet_at),
        code(dcm("113705", "Scope of Accumulation"), dcm("113014", "Study"), children=[
            uid_reference(dcm("110180", "Study Instance UID"), CASE.uid("study")),
        ]),
        container(dcm("113811", "CT Accumulated Dose Data"), [
            number(dcm("113812", "Total Number of Irradiation Events"), Decimal(1), "{events}"),
            number(dcm("113813", "CT Dose Length Product Total"), Decimal("412.5"), "mGy.cm"),
        ]),
        event,
        *([person(dcm("113850", "Irradiation Authorizing"), authorizer)] if authorizer else []),
    ]  # fmt: skip
    given = {"Manufacturer": "Example", "ManufacturerModelName": "CT-1", "StationAETitle": "CT1", **overrides}
    return _report("ct-dose", XRayRadiationDoseSRStorage, dcm("113701", "X-Ray Radiation Dose Report"), "10011", items, given)


def enhanced_dose_report(*more: Dataset, **overrides: Any) -> Dataset:
    """TID 10040 of a CT: the accumulated dose stands in a container of its own kind (TID 10041), below the system that gave it."""
    items = [
        code(dcm("121058", "Procedure reported"), SCT_CT, relation="HAS CONCEPT MOD"),
        *_observer(),
        date_time(dcm("113809", "Start of X-Ray Irradiation"), CASE.pet_at),
        container(dcm("130500", "Accumulated Dose Data"), [
            number(dcm("113813", "CT Dose Length Product Total"), Decimal("0.4125"), "Gy.cm"),
            number(dcm("113722", "Dose Area Product Total"), Decimal("1.5"), "dGy.cm2"),
        ]),
        *more,
    ]  # fmt: skip
    concept = dcm("113701", "X-Ray Radiation Dose Report")
    return _report("enhanced-dose", EnhancedXRayRadiationDoseSRStorage, concept, "10040", items, overrides)


def patient_dose_report(**overrides: Any) -> Dataset:
    """TID 10030: mean absorbed dose of the left kidney in mGy, estimated from the dose report of the case's administration."""
    source = container(
        dcm("128416", "SR Instance Used"), [uid_reference(dcm("128429", "Event UID Used"), CASE.uid("administration"))]
    )
    del source.ContinuityOfContent
    source.ValueType = "COMPOSITE"
    instance = Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.68", CASE.uid("rrdsr")
    source.ReferencedSOPSequence = [instance]
    side = code(sct("272741003", "Laterality"), sct("7771000", "Left"), relation="HAS CONCEPT MOD")
    items = [
        container(dcm("128402", "Radiation Dose Estimate"), [
            text(dcm("128403", "Radiation Dose Estimate Name"), "Left kidney"),
            code(sct("363698007", "Finding Site"), sct("64033007", "Kidney"), relation="HAS CONCEPT MOD", children=[side]),
            number(dcm("128533", "Mean Absorbed Radiation Dose"), Decimal(4360), "mGy"),
            container(dcm("128415", "Radiation Dose Estimate Methodology"), [
                source,
                container(dcm("128500", "Patient Radiation Dose Model"), [
                    code(dcm("128417", "Patient Model Type"), dcm("128404", "Anthropomorphic Model")),
                    code(dcm("128420", "Radiation Transport Model Type"), dcm("128422", "Voxelized Radiation Transport Model")),
                ]),
            ]),
        ]),
    ]  # fmt: skip
    concept = dcm("128401", "Patient Radiation Dose Report")
    return _report("patient-dose", PatientRadiationDoseSRStorage, concept, "10030", items, overrides)


@contextmanager
def written(item: Dataset, text: str, unit: str) -> Iterator[None]:
    """A content item with another number and unit, for a while."""
    measured = item.MeasuredValueSequence[0]
    before = measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue
    measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue = text, unit
    yield
    measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue = before
