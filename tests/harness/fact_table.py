"""Every fact of structured reports, and where it stands in FHIR, as Markdown: for a person who wants to see that nothing was lost.

    python -m tests.harness.fact_table http://127.0.0.1:8080/fhir report.dcm ...

The gateway must hold the reports already, as any sender brought them. A fact is found by what it says (number and unit, also as
stated; code; words; time; UID), under the patients of the studies that the reports name. It is read with pydicom alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pydicom
import requests
from pydicom.dataset import Dataset

Place = tuple[str, Any]


def resources_of(base: str, study_uid: str) -> list[dict[str, Any]]:
    """The study, and all resources of its patient."""
    studies = _search(f"{base}/ImagingStudy?identifier=urn:dicom:uid|urn:oid:{study_uid}")
    found = [*studies]
    for patient in sorted({one["subject"]["reference"] for one in studies}):
        found += _search(f"{base}/{patient.replace('/', '?_id=')}")
        for kind in ("Observation", "Procedure", "DiagnosticReport", "DocumentReference"):
            found += _search(f"{base}/{kind}?patient={patient}&_count=500")
        given = f"{base}/MedicationAdministration?patient={patient}&_count=500&_include=*"
        found += _search(given)
    return list({(one["resourceType"], one["id"]): one for one in found}.values())


def _search(url: str) -> list[dict[str, Any]]:
    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return [
        entry["resource"]
        for entry in answer.json(parse_float=Decimal).get("entry", ())
        if entry["resource"]["resourceType"] != "OperationOutcome"
    ]


def places(resource: dict[str, Any]) -> Iterator[Place]:
    """Every leaf with its path, and every quantity as a whole."""
    yield from _below(resource["resourceType"], resource)


def _below(path: str, node: Any) -> Iterator[Place]:
    if isinstance(node, dict):
        if "value" in node and "code" in node and "system" in node:
            yield path, (Decimal(str(node["value"])), node["code"])
        for name, child in node.items():
            yield from _below(f"{path}.{name}", child)
    elif isinstance(node, list):
        for child in node:
            yield from _below(path, child)
    else:
        yield path, node


def leaves(dataset: Dataset, names: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, str]]:
    """Every content item with a value: path of meanings, what to look for, words."""
    for item in dataset.get("ContentSequence", ()):
        concept = item.get("ConceptNameCodeSequence")
        here = (*names, str(concept[0].CodeMeaning) if concept else str(item.get("ValueType", "")))
        found = _value(item)
        if found is not None:
            yield " > ".join(here), *found
        yield from leaves(item, here)


def _value(item: Dataset) -> tuple[Any, str] | None:
    if "MeasuredValueSequence" in item and item.MeasuredValueSequence:
        measured = item.MeasuredValueSequence[0]
        unit = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
        return (Decimal(str(measured.NumericValue)), unit), f"{measured.NumericValue} {unit}"
    if item.get("ConceptCodeSequence"):
        code = item.ConceptCodeSequence[0]
        return [str(code.get("CodeValue", "")), str(code.CodeMeaning)], f"{code.CodeMeaning}"
    for name in ("TextValue", "DateTime", "UID", "PersonName", "Date", "Time"):
        if item.get(name):
            return str(item[name].value), str(item[name].value)
    return None


def says(value: Any, wanted: Any) -> bool:
    """Whether a leaf of FHIR says what an item says."""
    if isinstance(wanted, tuple):
        return isinstance(value, tuple) and value[0] == wanted[0]
    if isinstance(wanted, list):
        return isinstance(value, str) and bool(value) and value in wanted
    if not isinstance(value, str) or not isinstance(wanted, str):
        return False
    if re.fullmatch(r"\d{14}.*", wanted):
        return re.sub(r"\D", "", value)[:14] == wanted[:14]
    return value in (wanted, f"urn:oid:{wanted}") or (len(wanted) > 3 and wanted in value)


def table(base: str, paths: list[str]) -> Iterator[str]:
    for path in paths:
        report = pydicom.dcmread(path)
        known = [place for one in resources_of(base, str(report.StudyInstanceUID)) for place in places(one)]
        title = report.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in report else report.Modality
        yield f"### {title}"
        yield ""
        yield "| Item | Says | Stands in |"
        yield "|---|---|---|"
        for item, wanted, words in leaves(report):
            where = sorted({place for place, value in known if says(value, wanted)})
            shown = ", ".join(f"`{place}`" for place in where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
            yield f"| {item} | {words[:60]} | {shown or 'not in FHIR'} |"
        yield ""


if __name__ == "__main__":
    print("\n".join(table(sys.argv[1], sys.argv[2:])))
