"""A dose report in other units, or in codes of another age, is the same FHIR; in a unit that measures something else it is no number.

Each quantity of a report is written anew in every other legal unit, goes through reading, gathering and rendering as in
``isobridge convert``, and what comes out is compared as FHIR: only the source's own words (extension ``stated-quantity``) may differ.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping as snomed

from gateway.dicom.reading import header_of
from gateway.mapping.example import encode
from gateway.mapping.filling import STATED
from gateway.model import JsonObject, Severity
from gateway.nuclear.units import convert, spelled
from gateway.r4.bundles import resources_of
from gateway.workbench.convert import Problem, bundles_of
from tests.builders_sr import written
from tests.conftest import data_directory
from tests.harness.one_patient import RECORDED, encoded, leaves, shipped
from tests.worked_example import REPORT

UNDERSTANDING = shipped()
REAL = data_directory() / "rrdsr" / "NM-RRDSR-Siemens.dcm"
#: Unit (UCUM) -> other legal ones of the same quantity.
LEGAL = {
    "MBq": ("Bq", "kBq", "GBq", "mCi"),
    "mGy": ("Gy", "cGy", "uGy", "RAD"),
    "mSv": ("Sv", "uSv"),
    "s": ("min", "h", "ms"),
    "g": ("kg", "mg"),
    "kg": ("g",),
    "m": ("cm", "mm"),
    "cm": ("m", "mm"),
    "a": ("mo",),
    "mmol/l": ("umol/L", "mmol/L"),
    "cm3": ("mL", "L"),
    "Bq/mmol": ("Bq/umol", "MBq/umol"),
    "h": ("min", "s"),
    "ml": ("L", "cm3"),
}
#: Quantities of TID 10021-10024 that neither report has.
MORE: JsonObject = {
    "113502 DCM/123005 DCM": {"num": "2.5", "unit": "cm3"},
    "113502 DCM/123007 DCM": {"num": "55000000000", "unit": "Bq/mmol"},
    "121118 DCM/113550 DCM": {"num": "6", "unit": "h"},
    "121118 DCM/113551 DCM": {"num": "500", "unit": "ml"},
    "121118 DCM/121033 DCM": {"num": "63", "unit": "a"},
}


def worked_example() -> Dataset:
    """The worked example of standards.md G.1, with every quantity that the templates have."""
    tree = copy.deepcopy(REPORT)
    for path, item in MORE.items():
        container, name = path.split("/")
        tree["sr"][container]["items"][name] = item
    return pydicom.dcmread(io.BytesIO(encode(tree)), force=True)


def reports() -> list[Any]:
    real = pytest.param(lambda: pydicom.dcmread(REAL), id="biograph", marks=pytest.mark.needs("data"))
    return [pytest.param(worked_example, id="worked_example"), real]


def published(document: Dataset) -> tuple[dict[str, Any], list[Problem]]:
    """Every leaf of the FHIR that comes out, without what the source itself wrote, numbers to the digit that all writings carry."""
    record, problems = UNDERSTANDING.understand(header_of(encoded(document))), list[Problem]()
    problems += [
        Problem(path=Path("a"), reason=one.reason, field=one.field, severity=one.severity) for one in record.shared.issues
    ]
    bundles = list(bundles_of([record], [Path("a")], UNDERSTANDING, RECORDED, problems))
    resources = [one for bundle in bundles for one in resources_of(bundle)]
    return {f"{one['resourceType']}/{one['id']}": _plain(one) for one in resources}, problems


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        kept = {name: _plain(value) for name, value in node.items() if name != "extension"}
        others = [_plain(one) for one in node.get("extension", ()) if one.get("url") != STATED]
        return kept | ({"extension": others} if others else {})
    if isinstance(node, list):
        return [_plain(one) for one in node]
    return f"{Decimal(node):.8e}" if isinstance(node, Decimal | int) and not isinstance(node, bool) else node


def quantities(item: Dataset) -> Iterator[Dataset]:
    """The first item with a number for each concept."""
    found: dict[str, Dataset] = {}

    def collect(node: Dataset) -> None:
        for child in node.get("ContentSequence") or ():
            if child.get("MeasuredValueSequence"):
                found.setdefault(str(child.ConceptNameCodeSequence[0].CodeValue), child)
            collect(child)

    collect(item)
    yield from found.values()


@pytest.mark.parametrize("build", reports())
def test_each_quantity_in_each_other_legal_unit_is_the_same_fhir(build: Any) -> None:
    document, tried = build(), set()
    wanted, before = published(document)
    for item in quantities(document):
        measured = item.MeasuredValueSequence[0]
        value, unit = Decimal(str(measured.NumericValue)), str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
        assert unit in LEGAL, f"{unit}: no other legal unit is tried"
        for other in LEGAL[unit]:
            text = f"{value / convert(Decimal(1), other, unit):.14g}"  # as exact as a Decimal String of 16 characters
            with written(item, text[:16], other):
                after, problems = published(document)
            assert after == wanted, f"{item.ConceptNameCodeSequence[0].CodeMeaning} in {other}"
            assert [one.reason for one in problems] == [one.reason for one in before]
            tried.add((unit, other))
    assert len(tried) >= 8


@pytest.mark.parametrize("build", reports())
@pytest.mark.parametrize("unit", ["furlong", "kV", "rad"])
def test_each_quantity_in_a_unit_of_something_else_is_an_issue_and_no_number(build: Any, unit: str) -> None:
    document, count = build(), 0
    _, before = published(document)
    for item in quantities(document):
        with written(item, "98765.25", unit):
            after, problems = published(document)
        said = [value for _, value, _ in leaves(list(after.values()))]
        assert not any("9.876525" in value or "98765" in value for value in said), item.ConceptNameCodeSequence[0].CodeMeaning
        told = [one for one in problems if one not in before]
        assert any(one.severity is Severity.ERROR for one in told), item.ConceptNameCodeSequence[0].CodeMeaning
        count += 1
    assert count >= 5


def recoded(node: Dataset, codes: dict[str, str], scheme: str) -> int:
    """Every code that is in ``codes`` becomes that code of ``scheme``; how many there were."""
    count = 0
    for element in node:
        if element.VR == "SQ":
            count += sum(recoded(inner, codes, scheme) for inner in element.value)
    if node.get("CodingSchemeDesignator") in ("SCT", "SRT") and str(node.get("CodeValue")) in codes:
        node.CodeValue, node.CodingSchemeDesignator = codes[str(node.CodeValue)], scheme
        count += 1
    return count


@pytest.mark.needs("data")
def test_the_real_report_in_snomed_ct_and_again_in_srt_is_the_same_fhir() -> None:
    """All retired codes of the real report, there and back."""
    document = pydicom.dcmread(REAL)
    wanted, _ = published(document)
    today = copy.deepcopy(document)
    count = recoded(today, dict(snomed["SRT"]), "SCT")
    assert count > 60
    assert published(today)[0] == wanted
    back = {str(value): str(key) for key, value in snomed["SRT"].items()}
    assert recoded(today, back, "SRT") == count
    assert published(today)[0] == wanted


def test_the_twin_of_the_worked_example_in_retired_codes_is_the_same_fhir() -> None:
    document = worked_example()
    wanted, _ = published(document)
    back = {str(value): str(key) for key, value in snomed["SRT"].items()}
    assert recoded(document, back, "SRT") > 10
    assert published(document)[0] == wanted


def test_units_that_are_tried_are_those_of_one_quantity() -> None:
    for unit, others in LEGAL.items():
        for other in others:
            assert convert(Decimal(1), spelled(unit), other) > 0
