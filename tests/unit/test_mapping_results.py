"""The section ``results`` of a mapping: what lint says of mistakes, what is inherited, what is read of an object."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.mapping.language import load
from gateway.model import SharedFields
from tests.unit.mapping_files import complaints, directory, read

DOSE = """\
match: everything
for_each: {administration: {sr: [113502 DCM]}}
fields:
  patient.id: {from: PatientID, as: text}
  administration.event_uid: {from: {sr: [$administration, 113503 DCM]}, as: uid}
results:
  dose:
    kind: organ-absorbed-dose
    of: administration
    for_each: {sr: [$administration, 113517 DCM]}
    set: {target_definition: whole-organ}
    fields:
      value: {from: {sr: [$item, 113518 DCM]}, as: quantity, unit: {out: Gy}}
      region: {from: {sr: [$item, 363698007 SCT]}, as: concept, codes: organs}
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("kind: organ-absorbed-dose", "kind: organ-dose", "'organ-dose' is not a kind of result"),
        ("    kind: organ-absorbed-dose\n", "", "result 'dose' has no 'kind'"),
        ("of: administration", "of: patient", "a result is 'of: administration'"),
        ("set: {target_definition: whole-organ}", "set: {target_definition: half-organ}", "'target_definition' is one of"),
        ("set: {target_definition: whole-organ}", "set: {target: whole-organ}", "a result has no member 'target'"),
        ("out: Gy", "out: mGy", "'organ-absorbed-dose' is published in Gy, not in mGy"),
        ("out: Gy", "out: MBq", "'organ-absorbed-dose' is published in Gy, not in MBq"),
        ("      value: {", "      amount: {", "a result has no member 'amount'"),
        ("as: concept, codes: organs", "as: text", "'text' gives no CodeableConcept, which 'region' is"),
        ("[$item, 113518 DCM]", "[$other, 113518 DCM]", "'$other' is not a concept name"),
        ("    for_each: {sr: [$administration, 113517 DCM]}\n", "", "'$item' needs 'for_each'"),
        ("    set:", "    sets:", "unknown key 'sets' (did you mean 'set'?)"),
        ("    of: administration\n", "", "only 'administration' fields can read $administration"),
        ("for_each: {administration: {sr: [113502 DCM]}}\n", "", "'of: administration' needs 'for_each: {administration: ...}'"),
    ],
)
def test_a_mistake_is_told_where_it_stands(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in DOSE
    told = complaints(tmp_path, one=DOSE.replace(old, new, 1))
    assert any(complaint in line and line.startswith("one.yaml:") for line in told), told


def test_without_a_mistake_nothing_is_told(tmp_path: Path) -> None:
    assert complaints(tmp_path, one=DOSE) == []


@pytest.mark.parametrize(
    ("per", "kinds", "complaint"),
    [
        ("result", "[bad]", "'bad' is not a kind of result"),
        ("result", "bed", "'kinds' is a list of kinds of results"),
        ("study", "[bed]", "'kinds' goes with 'per: result'"),
    ],
)
def test_a_template_names_kinds_that_exist(tmp_path: Path, per: str, kinds: str, complaint: str) -> None:
    template = f'resources:\n  x: {{per: {per}, kinds: {kinds}, identity: ["${{result.key}}"], resourceType: Observation}}\n'
    assert any(complaint in line for line in complaints(tmp_path, one=DOSE + template))


def test_a_template_reads_what_a_result_can_hold_and_nothing_else(tmp_path: Path) -> None:
    head = 'resources:\n  x: {per: result, identity: ["${result.key}"], resourceType: Basic, extension: [{url: "urn:x", valueString: "'
    assert any(
        "no field 'result.massive' is written" in line
        for line in complaints(tmp_path / "a", one=DOSE + head + '${result.massive}"}]}\n')
    )
    told = complaints(tmp_path / "b", one=DOSE + head + '${result.fit.model}"}]}\n')
    assert not any("is written" in line for line in told)


def test_results_are_inherited_key_by_key_and_taken_away(tmp_path: Path) -> None:
    other = "{kind: treated-volume, set: {text: none, region: {text: Liver}}}"
    heir = f"extends: one\nmatch: {{Modality: SR}}\nresults:\n  dose: null\n  other: {other}\n"
    mappings = load(directory(tmp_path, one=DOSE, two=heir))
    assert [rule.name for rule in mappings.named("one").results] == ["dose"]
    assert [rule.name for rule in mappings.named("two").results] == ["other"]


def test_a_change_of_a_result_is_another_version_of_the_mapping(tmp_path: Path) -> None:
    one = load(directory(tmp_path / "a", one=DOSE)).named("one").version
    assert load(directory(tmp_path / "b", one=DOSE.replace("whole-organ", "lesion"))).named("one").version != one


ORGANS = {
    "113503 DCM": {"uid": "2.25.1"},
    "113517 DCM": {"items": {"363698007 SCT": {"code": "64033007 SCT"}, "113518 DCM": {"num": "4.5", "unit": "mGy"}}},
    "113517 DCM #2": {"items": {"363698007 SCT": {"code": "10200004 SCT"}, "113518 DCM": {"num": "1", "unit": "cGy"}}},
}


def told_by(path: Path, given: dict[str, Any], text: str = DOSE) -> SharedFields:
    return read(load(directory(path, one=text)).named("one"), given).shared


def test_each_item_of_each_administration_is_a_result_that_knows_its_administration(tmp_path: Path) -> None:
    second = {"113503 DCM": {"uid": "2.25.2"}, "113517 DCM": ORGANS["113517 DCM"]}
    shared = told_by(tmp_path, {"sr": {"113502 DCM": {"items": ORGANS}, "113502 DCM #2": {"items": second}}})
    assert [(one["of_administration"], one["region"]["text"], one["value"]["value"]) for one in shared.results] == [
        (0, "Kidney", Decimal("0.0045")),
        (0, "Liver", Decimal("0.01")),
        (1, "Kidney", Decimal("0.0045")),
    ]
    assert [one["label"] for one in shared.results] == ["results.dose[0]", "results.dose[1]", "results.dose[2]"]
    assert shared.results[0]["stated"] == {"value": Decimal("4.5"), "unit": "mGy"}
    assert shared.results[0]["target_definition"] == "whole-organ"
    assert shared.sources["results.dose[1].value"] == "sr 113502 DCM/113517 DCM[1]/113518 DCM"


@pytest.mark.parametrize("unit", ["MBq", "bananas", "mSv"])
def test_a_number_in_an_illegal_unit_is_an_issue_and_no_number(tmp_path: Path, unit: str) -> None:
    organ = {"items": {"363698007 SCT": {"code": "64033007 SCT"}, "113518 DCM": {"num": "4.5", "unit": unit}}}
    shared = told_by(tmp_path, {"sr": {"113502 DCM": {"items": {"113503 DCM": {"uid": "2.25.1"}, "113517 DCM": organ}}}})
    (result,) = shared.results
    assert ("value" in result, result["absent"]) == (False, "error")
    assert [issue.field for issue in shared.issues] == ["results.dose.value"]


def kidney(num: str | None, qualifier: str | None = None, text: str = DOSE) -> dict[str, Any]:
    """A report with the dose of a kidney; without a number its MeasuredValueSequence is empty."""
    unit = {"CodeValue": "mGy", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "mGy"}
    measured = [{"NumericValue": num, "MeasurementUnitsCodeSequence": [unit]}] if num else []
    attributes: dict[str, Any] = {"ValueType": "NUM", "MeasuredValueSequence": measured}
    if qualifier:
        code = {"CodeValue": qualifier, "CodingSchemeDesignator": "DCM", "CodeMeaning": "any"}
        attributes["NumericValueQualifierCodeSequence"] = [code]
    organ = {"363698007 SCT": {"code": "64033007 SCT"}, "113518 DCM": {"text": "", "attributes": attributes}}
    return {"sr": {"113502 DCM": {"items": {"113503 DCM": {"uid": "2.25.1"}, "113517 DCM": {"items": organ}}}}}


QUALIFIED = (
    DOSE
    + """\
      absent: {from: {sr: [$item, 113518 DCM], attribute: "NumericValueQualifierCodeSequence[0]"}, as: absent_reason}
"""
)


@pytest.mark.parametrize(("qualifier", "absent"), [("114006", "error"), ("114010", "unknown"), ("999999", "error")])
def test_a_number_that_its_document_calls_unusable_is_withheld_with_the_reason(
    tmp_path: Path, qualifier: str, absent: str
) -> None:
    shared = told_by(tmp_path, kidney("4.5", qualifier), QUALIFIED)
    (result,) = shared.results
    assert not result.keys() & {"value", "stated"}
    assert result["absent"] == absent
    assert "is qualified by its document" in shared.issues[-1].reason


def test_a_dose_below_zero_is_an_issue_and_no_number_and_zero_is_one(tmp_path: Path) -> None:
    shared = told_by(tmp_path / "a", kidney("-4.5"))
    (result,) = shared.results
    assert not result.keys() & {"value", "stated"}
    assert result["absent"] == "error"
    assert [issue.reason for issue in shared.issues] == ["is below zero, which is no organ absorbed dose"]
    assert told_by(tmp_path / "b", kidney("0")).results[0]["value"]["value"] == 0


def test_a_measurement_may_be_below_zero(tmp_path: Path) -> None:
    assert told_by(tmp_path, kidney("-4.5"), DOSE.replace("organ-absorbed-dose", "measurement")).results[0]["value"]["value"] < 0


def test_an_organ_whose_dose_is_named_without_a_number_is_told_as_unknown(tmp_path: Path) -> None:
    shared = told_by(tmp_path, kidney(None))
    (result,) = shared.results
    assert (result["absent"], result["region"]["text"]) == ("unknown", "Kidney")
    assert [(issue.field, issue.reason) for issue in shared.issues] == [("results.dose.value", "is named without a number")]


def test_an_organ_without_any_dose_is_no_result(tmp_path: Path) -> None:
    given = kidney(None)
    del given["sr"]["113502 DCM"]["items"]["113517 DCM"]["items"]["113518 DCM"]
    assert told_by(tmp_path, given).results == ()


def test_an_object_without_results_keeps_the_key_that_it_had_before_there_were_any(tmp_path: Path) -> None:
    plain = DOSE.partition("results:")[0]
    shared = told_by(tmp_path, {"PatientID": "P1"}, plain)
    assert (shared.results, shared.document) == ((), {})


def test_a_kind_that_the_object_names_must_be_one_that_is_known(tmp_path: Path) -> None:
    text = DOSE.partition("results:")[0] + (
        "results:\n  any:\n    fields:\n"
        "      kind: {from: StudyDescription, as: text}\n"
        "      value: {from: PatientWeight, as: quantity, unit: {in: kg, out: kg}}\n"
    )
    shared = told_by(tmp_path / "a", {"StudyDescription": "measurement", "PatientWeight": "70"}, text)
    assert shared.results[0]["kind"] == "measurement"
    shared = told_by(tmp_path / "b", {"StudyDescription": "bed", "PatientWeight": "70"}, text)
    assert "value" not in shared.results[0]
    assert "is in kg" in shared.issues[0].reason
    shared = told_by(tmp_path / "c", {"StudyDescription": "nonsense", "PatientWeight": "70"}, text)
    assert shared.results == ()
    assert "no kind of result" in shared.issues[0].reason
