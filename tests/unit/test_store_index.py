"""Promises of the index: it holds what FHIRPath finds, in forms a query can ask for."""

from __future__ import annotations

import json
import re
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fhirpathpy import evaluate
from fhirpathpy.models import models

from gateway.r4 import definitions
from gateway.r4.canonical import decode
from gateway.r4.expression import compile_expression
from gateway.r4.generate_search import INDEXABLE
from gateway.store import values
from gateway.store.index import Indexer, Rows, indexed_parameters, wanted_parameters
from tests.conftest import data_directory
from tests.fhir_samples import NM_STUDY, OBSERVATIONS, PATIENT, PT_STUDY

IDS = {pair: number for number, pair in enumerate(wanted_parameters())}
EXAMPLES = sorted((data_directory() / "fhir-examples").glob("*r4*/*.json")) + sorted(
    (data_directory() / "fhir-examples" / "radiation-dose-summary-ig" / "examples").glob("*.json")
)


def rows(resource: dict[str, Any], *, left_out: tuple[tuple[str, str], ...] = ()) -> Rows:
    return Indexer(IDS, ZoneInfo("Europe/Brussels"), left_out=left_out).rows(resource)


def of(found: Rows, table: str, kind: str, code: str) -> set[tuple[Any, ...]]:
    return {row[1:] for row in found.get(table, ()) if row[0] == IDS[kind, code]}


def resources(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in tree["entry"] if "resource" in entry] if tree["resourceType"] == "Bundle" else [tree]


def check_against_fhirpath(resource: dict[str, Any]) -> None:
    kind = resource["resourceType"]
    if kind not in definitions.resource_types():
        return
    for parameter in indexed_parameters(kind):
        if "resolve()" in parameter.expression:
            continue  # the other engine cannot do it
        # The engine casts single values only with "as"; ofType() is the same for a list.
        expression = re.sub(r"\(([^()]+) as (\w+)\)", r"\1.ofType(\2)", parameter.expression.replace("Resource.", f"{kind}."))
        expected = evaluate(resource, expression, model=models["r4"])
        compiled = compile_expression(parameter.expression, root=kind, elements=definitions.elements())
        found = [value for extractor in compiled for value in extractor.values(resource)]
        canonical = {json.dumps(value, sort_keys=True, default=str) for value in found}
        assert canonical == {json.dumps(value, sort_keys=True, default=str) for value in expected}, parameter.code


@pytest.mark.parametrize("resource", [PATIENT, PT_STUDY, NM_STUDY, OBSERVATIONS[0]], ids=lambda item: item["resourceType"])
def test_a_fhirpath_engine_finds_the_same_values_in_our_samples(resource: dict[str, Any]) -> None:
    check_against_fhirpath(resource)


@pytest.mark.needs("data")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_fhirpath_engine_finds_the_same_values_in_official_examples(path: Path) -> None:
    for resource in resources(decode(path.read_bytes())):
        check_against_fhirpath(resource)
        if resource["resourceType"] in definitions.resource_types():
            assert rows(resource)


def test_what_was_indexed_before_changes_nothing() -> None:
    """Rows are remembered by element, by elements that go together, and by the code that chooses: never across what differs."""
    dose = {
        "resourceType": "Observation",
        "id": "a",
        "status": "final",
        "code": {"coding": [{"system": "urn:x", "code": "organ-absorbed-dose"}]},
        "valueQuantity": {"value": Decimal("2.5"), "unit": "Gy", "system": "http://unitsofmeasure.org", "code": "Gy"},
        "component": [{"code": {"text": "cycle"}, "valueInteger": 1}],
    }
    activity = {"code": {"coding": [{"system": "urn:x", "code": "113507"}]}}
    variants: list[dict[str, Any]] = [
        {},
        {"valueQuantity": {}},
        {"valueQuantity": {"value": Decimal("3.5")}},
        activity,
        activity | {"valueQuantity": {"value": Decimal(310), "unit": "MBq"}},
        {"component": [{"code": {"text": "cycle"}, "valueInteger": 2}]},
        {"component": []},
        {"subject": {"reference": "Patient/p"}, "status": "preliminary"},
        {"derivedFrom": [{"reference": "Observation/b"}]},
        {"code": {"text": "organ-absorbed-dose"}},
    ]
    told = [dose | variant for variant in variants]
    told += [PATIENT, PT_STUDY, NM_STUDY, *OBSERVATIONS]
    shared = Indexer(IDS, ZoneInfo("Europe/Brussels"))
    for resource in told + told[::-1]:
        assert shared.rows(resource) == rows(resource)
    assert of(rows(told[0]), "qty", "Observation", "absorbed-dose")
    assert not of(rows(told[3]), "qty", "Observation", "absorbed-dose")


def test_a_study_is_indexed_by_patient_modality_and_every_uid() -> None:
    found = rows(PT_STUDY)
    assert of(found, "ref", "ImagingStudy", "patient") == {("p1", "Patient")}
    assert of(found, "tok", "ImagingStudy", "modality") == {("PT", "http://dicom.nema.org/resources/ontology/DCM")}
    assert len(of(found, "tok", "ImagingStudy", "instance")) == 30
    assert len(of(found, "tok", "ImagingStudy", "dicom-class")) == 1  # thirty images, one class, one row


def test_a_site_can_leave_out_the_index_of_instances() -> None:
    found = rows(PT_STUDY, left_out=(("ImagingStudy", "instance"),))
    assert of(found, "tok", "ImagingStudy", "instance") == set()
    assert of(found, "tok", "ImagingStudy", "series")


def test_every_indexable_type_yields_rows_or_is_passed_over_without_error() -> None:
    for kind, parameters in ((kind, indexed_parameters(kind)) for kind in definitions.resource_types()):
        for parameter in parameters:
            assert parameter.type in {*INDEXABLE, "composite"}, (kind, parameter.code)
            if parameter.type == "composite":
                continue


def test_text_is_folded_for_search_and_kept_for_exact_search() -> None:
    assert ("muller", "Müller") in of(rows(PATIENT), "str", "Patient", "family")
    assert values.folded("  ÉLAN\u00a0 Vital ") == "elan vital"
    assert values.folded("Straße") == "strasse"


def test_long_texts_fit_into_an_index_and_stay_distinct() -> None:
    one, other = values.key("x" * 5000 + "a"), values.key("x" * 5000 + "b")
    assert one != other
    assert len(one) <= values.MAX_INDEXED_CHARS
    assert len(values.folded("x" * 5000)) <= values.MAX_INDEXED_CHARS


@pytest.mark.parametrize("form", ["1.2.840.1", "urn:oid:1.2.840.1"])
def test_a_uid_is_asked_for_in_both_forms(form: str) -> None:
    assert set(values.uid_forms(form)) == {"1.2.840.1", "urn:oid:1.2.840.1"}
    assert values.uid_forms("H1.2") == ("H1.2",)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Patient/p1", ("p1", "Patient")),
        ("Patient/p1/_history/3", ("p1", "Patient")),
        ("http://x.example/fhir/Patient/p1", ("http://x.example/fhir/Patient/p1", "")),
        ("urn:uuid:1", ("urn:uuid:1", "")),
    ],
)
def test_a_reference_is_kept_as_type_and_id_or_whole(reference: str, expected: tuple[str, str]) -> None:
    assert list(values.references("Reference", {"reference": reference})) == [expected]


def test_a_local_or_logical_reference_points_to_no_resource() -> None:
    assert list(values.references("Reference", {"reference": "#a"})) == []
    assert list(values.references("Reference", {"identifier": {"value": "1"}})) == []


def test_what_is_long_is_indexed_but_not_remembered() -> None:
    indexer = Indexer(IDS, ZoneInfo("Europe/Brussels"))
    tracemalloc.start()
    try:
        for number in range(20):
            attachment = {"contentType": "application/pdf", "data": f"{number:02d}" * 100_000}
            found = indexer.rows({"resourceType": "DocumentReference", "id": "d", "content": [{"attachment": attachment}]})
            assert of(found, "tok", "DocumentReference", "contenttype") == {("application/pdf", "")}
        del attachment
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
