"""FHIR XML says what FHIR JSON says: order, attributes, decimals, extensions of primitives, narrative."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.r4.canonical import content_hash
from gateway.r4.validate import validate
from gateway.r4.xml_read import from_xml
from gateway.r4.xml_write import to_xml
from tests.fhir_samples import OBSERVATIONS, PATIENT, PT_STUDY

DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p class="a">1 &lt; 2 &amp; ü</p><br></br></div>'
RICH: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "x",
    "meta": {"versionId": "1", "lastUpdated": "2026-01-31T23:30:00.120+02:00", "profile": ["http://p.example/1"]},
    "text": {"status": "generated", "div": DIV},
    "contained": [{"resourceType": "Device", "id": "d", "status": "active"}],
    "status": "final",
    "code": {"coding": [{"id": "c1", "system": "urn:x", "code": "a&b<\"'>"}], "text": "two\nlines\tand tab"},
    "device": {"reference": "#d"},
    "effectiveDateTime": "2026",
    "_effectiveDateTime": {"id": "e", "extension": [{"url": "urn:why", "valueBoolean": True}]},
    "valueQuantity": {"value": Decimal("1.50"), "unit": "MBq"},
    "component": [
        {"code": {"text": "n"}, "valueInteger": -3},
        {"code": {"text": "m"}, "valueRange": {"low": {"value": Decimal("1E+2")}}},
    ],
}


@pytest.mark.parametrize("resource", [RICH, PATIENT, PT_STUDY, OBSERVATIONS[0]], ids=lambda item: item["resourceType"])
def test_a_resource_comes_back_as_it_was(resource: dict[str, Any]) -> None:
    assert validate(resource) == []
    assert from_xml(to_xml(resource)) == resource


def test_a_decimal_and_an_instant_are_written_as_they_stand() -> None:
    text = to_xml(RICH).decode()
    assert '<value value="1.50"/>' in text
    assert '<lastUpdated value="2026-01-31T23:30:00.120+02:00"/>' in text
    assert str(from_xml(to_xml(RICH))["valueQuantity"]["value"]) == "1.50"


def test_elements_stand_in_the_official_order_whatever_the_order_of_the_json() -> None:
    turned = dict(reversed(list(PATIENT.items())))
    assert to_xml(turned) == to_xml(PATIENT)
    assert to_xml(PATIENT).index(b"<identifier>") < to_xml(PATIENT).index(b"<name>") < to_xml(PATIENT).index(b"<gender")


def test_ids_of_elements_and_urls_of_extensions_are_attributes_and_the_id_of_a_resource_is_not() -> None:
    text = to_xml(RICH).decode()
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?><Observation xmlns="http://hl7.org/fhir"><id value="x"/>')
    assert '<coding id="c1">' in text
    assert '<effectiveDateTime value="2026" id="e"><extension url="urn:why"><valueBoolean value="true"/>' in text
    assert '<contained><Device><id value="d"/>' in text


def test_lists_of_primitives_keep_step_with_their_extensions() -> None:
    gap = {"extension": [{"url": "urn:absent", "valueCode": "unknown"}]}
    patient = {"resourceType": "Patient", "name": [{"given": ["A", None, "C"], "_given": [None, gap, None]}]}
    assert from_xml(to_xml(patient)) == patient


@pytest.mark.parametrize(
    "div", ["<div>no namespace</div>", "<b>x", "a & b", '<!DOCTYPE x><div xmlns="http://www.w3.org/1999/xhtml"/>']
)
def test_a_narrative_that_is_no_xhtml_is_shown_as_text_and_breaks_nothing(div: str) -> None:
    patient = {"resourceType": "Patient", "text": {"status": "generated", "div": div}}
    again = from_xml(to_xml(patient))["text"]["div"]
    assert again.startswith('<div xmlns="http://www.w3.org/1999/xhtml">')
    assert "<!DOCTYPE" not in again


@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_survives_except_what_xml_cannot_hold(text: str) -> None:
    allowed = "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
    patient = {"resourceType": "Patient", "name": [{"family": text}]}
    assert from_xml(to_xml(patient))["name"][0]["family"] == allowed


def test_a_bundle_carries_its_resources() -> None:
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": [{"fullUrl": "urn:uuid:1", "resource": RICH}]}
    assert content_hash(from_xml(to_xml(bundle))) == content_hash(bundle)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<Patient/>",
        b'<Nonsense xmlns="http://hl7.org/fhir"/>',
        b'<Patient xmlns="http://hl7.org/fhir"><shoe value="1"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><active value="yes"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><active value="true"/><active value="true"/></Patient>',
        b'<Patient xmlns="http://hl7.org/fhir">text</Patient>',
        b'<!DOCTYPE a [<!ENTITY b "c">]><Patient xmlns="http://hl7.org/fhir"/>',
        b'<Patient xmlns="http://hl7.org/fhir">' + b"<extension>" * 200 + b"</extension>" * 200 + b"</Patient>",
        b'<Patient xmlns="http://hl7.org/fhir"><contained/></Patient>',
    ],
)
def test_what_is_no_fhir_resource_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_xml(document)
