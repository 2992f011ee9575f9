"""Promises of the search expressions: they find what FHIRPath finds, and refuse what they do not know."""

from __future__ import annotations

from typing import Any

import pytest
from fhirpathpy import evaluate
from fhirpathpy.models import models

from gateway.r4 import definitions
from gateway.r4.expression import UnknownExpression, branches, compile_expression

MEDICATION_ADMINISTRATION: dict[str, Any] = {
    "resourceType": "MedicationAdministration",
    "medicationCodeableConcept": {"text": "FDG"},
    "subject": {"reference": "Patient/p"},
    "effectivePeriod": {"start": "2026-01-01"},
}


def find(expression: str, resource: dict[str, Any]) -> list[Any]:
    compiled = compile_expression(expression, root=resource["resourceType"], elements=definitions.elements())
    return [value for extractor in compiled for value in extractor.values(resource)]


def test_a_cast_picks_one_type_of_a_choice() -> None:
    assert find("(MedicationAdministration.medication as CodeableConcept)", MEDICATION_ADMINISTRATION) == [{"text": "FDG"}]
    assert find("(MedicationAdministration.medication as Reference)", MEDICATION_ADMINISTRATION) == []


def test_an_uncast_choice_finds_whatever_is_there() -> None:
    assert find("MedicationAdministration.effective", MEDICATION_ADMINISTRATION) == [{"start": "2026-01-01"}]


def test_resolve_is_decided_from_the_reference() -> None:
    expression = "MedicationAdministration.subject.where(resolve() is {})"
    assert find(expression.format("Patient"), MEDICATION_ADMINISTRATION) == [{"reference": "Patient/p"}]
    assert find(expression.format("Group"), MEDICATION_ADMINISTRATION) == []


@pytest.mark.parametrize(
    ("resource", "expected"), [({}, False), ({"deceasedBoolean": False}, False), ({"deceasedDateTime": "2026"}, True)]
)
def test_deceased_is_always_known(resource: dict[str, Any], expected: bool) -> None:
    expression = "Patient.deceased.exists() and Patient.deceased != false"
    assert find(expression, {"resourceType": "Patient", **resource}) == [expected]


def test_a_filter_on_a_fixed_value_keeps_the_matching_ones() -> None:
    telecom = [{"system": "phone", "value": "1"}, {"system": "email", "value": "a@b"}]
    assert find("Patient.telecom.where(system='email')", {"resourceType": "Patient", "telecom": telecom}) == [telecom[1]]


@pytest.mark.parametrize("expression", ["Patient.nme", "Patient.name.first()", "Patient.name[0]", "Patient.birthDate.as(Period)"])
def test_what_is_not_known_is_refused(expression: str) -> None:
    with pytest.raises(UnknownExpression):
        compile_expression(expression, root="Patient", elements=definitions.elements())


def test_a_union_is_split_outside_parentheses_only() -> None:
    assert branches("A.b | (A.c as D) | A.where(x | y)") == ["A.b", "(A.c as D)", "A.where(x | y)"]


def test_every_official_parameter_of_every_type_compiles() -> None:
    for kind, parameters in definitions.search_parameters().items():
        for parameter in parameters.values():
            if parameter.type != "composite":
                assert compile_expression(parameter.expression, root=kind, elements=definitions.elements()), parameter.code


@pytest.mark.parametrize("declared", definitions.own_search_parameters().values(), ids=lambda item: str(item["code"]))
def test_our_own_parameters_find_what_fhirpath_finds(declared: dict[str, Any]) -> None:
    def coded(code: str, **value: Any) -> dict[str, Any]:
        return {"code": {"coding": [{"code": "other"}, {"code": code}]}, **value}

    tracer, cycle = {"valueCodeableConcept": {"text": "x"}}, {"valueInteger": 2}
    place = "http://isobridge.org/fhir/StructureDefinition"
    hours = {"valueQuantity": {"value": 1, "unit": "h"}}
    resources: list[dict[str, Any]] = [
        {"resourceType": "Observation", **coded("113507"), "valueQuantity": {"value": 350}, "bodySite": {"text": "kidney"}},
        {"resourceType": "Observation", **coded("128513"), "valueQuantity": {"value": 4}},
        {"resourceType": "Observation", **coded("organ-absorbed-dose"), "valueString": "much"},
        {
            "resourceType": "Observation",
            "component": [
                coded("349358000", **tracer),
                coded("89457008", **tracer),
                coded("349358000", **cycle),
                coded("cycle-number", **cycle),
                coded("uptake-time", **hours),
            ],
        },
        {"resourceType": "MedicationAdministration", "dosage": {"dose": {"value": 350}}},
        {"resourceType": "BodyStructure", "location": {"text": "liver"}},
        {
            "resourceType": "Observation",
            "extension": [{"url": f"{place}/source-path", "valueString": "A1"}, {"url": f"{place}/remark", "valueString": "x"}],
            "valueQuantity": {"extension": [{"url": f"{place}/stated-quantity", "valueQuantity": {"value": 4}}], "value": 4},
        },
    ]
    met = 0
    for resource in resources:
        kind = resource["resourceType"]
        if kind in declared["base"]:
            expression = definitions.search_parameters()[kind][declared["code"]].expression
            ours = find(expression, resource)
            met += len(ours)
            assert ours == [value for branch in branches(expression) for value in evaluate(resource, branch, model=models["r4"])]
    assert met
