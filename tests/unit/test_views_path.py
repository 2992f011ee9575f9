"""The FHIRPath subset of views against fhirpathpy, an implementation by others, over the samples; and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import fhirpathpy
import pytest
from fhirpathpy.models import models

from gateway.views.path import Environment, compile_path
from gateway.views.syntax import UnknownPath
from tests.fhir_samples import OBSERVATIONS, PATIENT, PT_STUDY

COMPONENTS = {
    **OBSERVATIONS[1],
    "component": [
        {"code": {"text": "a"}, "valueQuantity": {"value": Decimal("2.50"), "code": "mL"}},
        {"code": {"text": "b"}, "valueString": "x", "extension": [{"url": "urn:offset", "valueInteger": 3}]},
        {"code": {"text": "a"}, "valueQuantity": {"value": Decimal(7), "code": "g"}},
    ],
}

PATHS = [
    "id",
    "status = 'final'",
    "status != 'final'",
    "missing",
    "missing = 'x'",
    "Observation.id",
    "name.given",
    "name.given.first()",
    "name.given.last()",
    "name.given[1]",
    "name.given[7]",
    "name.given.count()",
    "name.given.join(', ')",
    "name.given.where($this.startsWith('Z'))",
    "name.given.select($this.upper())",
    "name.given.exists($this = 'Zoë')",
    "name.given.all($this.length() > 2)",
    "name.given.tail()",
    "name.family.substring(1, 3)",
    "name.family.replace('ü', 'ue')",
    "name.family.contains('ll')",
    "(name.family | name.given).count()",
    "name.family & missing & '!'",
    "name.family + missing",
    "identifier.where(system = 'urn:hospital').value",
    "identifier.where(system = 'urn:other').exists()",
    "identifier.where(system = 'urn:other').empty()",
    "series.instance.sopClass.code.distinct()",
    "series.instance.uid.count()",
    "series.select(uid & '/' & modality.code)",
    "component.where(code.text = 'a').value.ofType(Quantity).code",
    "component.value.ofType(string)",
    "component.where(extension('urn:offset').exists()).code.text",
    "component.extension('urn:offset').value.ofType(integer)",
    "component.code.text.isDistinct()",
    "value.ofType(Quantity).value > 0.5 and status = 'final'",
    "value.ofType(Quantity).value * 2 + 1",
    "value.ofType(Quantity).value / 0",
    "iif(value.ofType(Quantity).value >= 0, 'some', 'none')",
    "status = 'final' or missing = 'x'",
    "status = 'x' and missing = 'x'",
    "(status = 'x' xor true)",
    "missing.exists() implies false",
    "missing.exists().not()",
    "'final' in status",
    "status contains 'final'",
    "-3 + 5 div 2 - 7 mod 4",
    "{}",
    "gender = 'female' and birthDate = '1970-02-03'",
    "'a\\'b'",
    "true and false or true",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("resource", [PATIENT, PT_STUDY, COMPONENTS], ids=["patient", "study", "observation"])
def test_a_path_finds_what_others_find(path: str, resource: dict[str, Any]) -> None:
    try:
        expected = fhirpathpy.evaluate(resource, path, {}, models["r4"])
    except Exception:  # noqa: BLE001 whatever the other one does not like, we must not like either
        with pytest.raises(UnknownPath):
            compile_path(path)([resource], Environment(root=resource))
        return
    found = compile_path(path)([resource], Environment(root=resource))
    assert [str(value) for value in found] == [str(value) for value in expected]
    assert found == expected or all(isinstance(value, Decimal | float | int) for value in found)


def test_decimals_stay_as_they_are() -> None:
    found = compile_path("component.value.ofType(Quantity).value")([COMPONENTS], Environment())
    assert [str(value) for value in found] == ["2.50", "7"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a.",
        "a b",
        "a(",
        "'open",
        "@2020-01-01",
        "a.repeat(b)",
        "a.ofType(Quantity)",
        "x.y()",
        "$total",
        "a ~ b",
        "#",
        "(" * 500,
    ],
)
def test_what_is_not_supported_is_refused(path: str) -> None:
    with pytest.raises(UnknownPath):
        compile_path(path)


def test_one_value_is_never_chosen_from_several() -> None:
    with pytest.raises(UnknownPath):
        compile_path("component.code.text + 'x'")([COMPONENTS], Environment())
    with pytest.raises(UnknownPath):
        compile_path("%nobody")([COMPONENTS], Environment())
