"""What researchers' tools ask beyond plain searches: XML, compartments, everything about a patient, histories, pairs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

import pytest
import requests

from gateway.r4.canonical import content_hash, decode
from gateway.r4.published import as_transaction
from gateway.r4.validate import validate
from gateway.r4.xml_read import from_xml
from gateway.store import FhirStore
from tests.fhir_samples import DCM, PATIENT, UCUM, filled, transaction
from tests.integration.test_fhir_rest import TIMEOUT_SECS, Server, outcome

XML = {"Accept": "application/fhir+xml"}
SCT = "http://snomed.info/sct"
OURS = "http://isobridge.org/fhir/StructureDefinition"
OWN = {
    *("tracer", "radionuclide", "administered-activity", "uptake-time", "organ", "absorbed-dose", "cycle"),
    *("source-path", "stated-quantity"),
}
ACTIVITY: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "activity",
    "meta": {"profile": ["http://p.example/x"], "source": "urn:s", "tag": [{"system": "urn:isobridge:tag", "code": "repaired"}]},
    "status": "preliminary",
    "code": {"coding": [{"system": DCM, "code": "113507"}]},
    "subject": {"reference": "Patient/p2"},
    "effectiveDateTime": "2026-03-01T10:00:00+01:00",
    "valueQuantity": {"value": Decimal("350.0"), "unit": "MBq", "system": UCUM, "code": "MBq"},
    "component": [
        {
            "code": {"coding": [{"system": SCT, "code": "349358000"}]},
            "valueCodeableConcept": {"coding": [{"system": SCT, "code": "35321007"}]},
        },
        {
            "code": {"coding": [{"system": SCT, "code": "89457008"}]},
            "valueCodeableConcept": {"text": "Fluorine 18", "coding": [{"system": SCT, "code": "77004003"}]},
        },
        {"code": {"coding": [{"code": "cycle-number"}]}, "valueInteger": 2},
        {
            "code": {"coding": [{"code": "uptake-time"}]},
            "valueQuantity": {"value": Decimal("1.05"), "unit": "h", "system": UCUM, "code": "h"},
        },
    ],
}
KIDNEY: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "kidney",
    "status": "preliminary",
    "code": {"coding": [{"system": DCM, "code": "128513"}]},
    "bodySite": {"coding": [{"system": SCT, "code": "64033007", "display": "Kidney"}]},
    "subject": {"reference": "Patient/p2"},
    "extension": [{"url": f"{OURS}/source-path", "valueString": "dosimetry: row 4, column D_cGy"}],
    "valueQuantity": {
        "extension": [
            {"url": f"{OURS}/stated-quantity", "valueQuantity": {"value": Decimal(436), "system": UCUM, "code": "cGy"}}
        ],
        "value": Decimal("4.36"),
        "unit": "Gy",
        "system": UCUM,
        "code": "Gy",
    },
}
GIVEN: dict[str, Any] = {
    "resourceType": "MedicationAdministration",
    "id": "given",
    "status": "completed",
    "medicationReference": {"reference": "Medication/fdg"},
    "subject": {"reference": "Patient/p2"},
    "effectiveDateTime": "2026-03-01T10:00:00+01:00",
    "dosage": {"dose": {"value": Decimal(350), "unit": "MBq", "system": UCUM, "code": "MBq"}},
}
MEDICATION = {"resourceType": "Medication", "id": "fdg", "code": {"coding": [{"system": SCT, "code": "35321007"}]}}
PROVENANCE: dict[str, Any] = {
    "resourceType": "Provenance",
    "id": "why",
    "target": [{"reference": "Observation/kidney"}],
    "recorded": "2026-03-02T10:00:00Z",
    "agent": [{"who": {"display": "gateway"}}],
}
MINE = {"Patient/p2", "Observation/activity", "Observation/kidney", "MedicationAdministration/given"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = filled(FhirStore(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"))
    other = {**PATIENT, "id": "p2", "identifier": [{"system": "urn:hospital", "value": "H2"}]}
    store.transact(transaction(other, ACTIVITY, KIDNEY, GIVEN, MEDICATION, PROVENANCE))
    store.transact(as_transaction())
    running = Server(store)
    yield running
    running.stop()
    store.close()


def found(response: requests.Response, mode: str | None = None) -> list[str]:
    assert response.status_code == 200, response.text
    body = response.json()
    assert validate(body) == []
    entries = [entry for entry in body.get("entry", ()) if mode in (None, entry["search"]["mode"])]
    return [f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in entries]


def following(response: requests.Response) -> str | None:
    return next((link["url"] for link in response.json()["link"] if link["relation"] == "next"), None)


@pytest.mark.parametrize(
    "path",
    ["metadata", "Patient/p1", "Observation/activity", "Observation?_count=3", "Device/d1/_history", "Patient/p2/$everything"],
)
def test_xml_says_what_json_says(server: Server, path: str) -> None:
    as_xml = server.get(path, headers=XML)
    assert as_xml.headers["content-type"] == "application/fhir+xml; charset=utf-8"
    assert content_hash(from_xml(as_xml.content)) == content_hash(decode(server.get(path).content))


def test_xml_by_format_pretty_and_for_errors_and_in_the_links(server: Server) -> None:
    page = server.get("Observation?_format=xml&_count=2")
    links = {link["relation"]: link["url"] for link in from_xml(page.content)["link"]}
    assert "_format=xml" in links["next"]
    assert requests.get(links["next"], timeout=TIMEOUT_SECS).headers["content-type"].startswith("application/fhir+xml")
    pretty = server.get("Patient/p1?_format=application/fhir%2Bxml&_pretty=true")
    assert pretty.text.count("\n") > 5
    assert from_xml(pretty.content)["id"] == "p1"
    missing = server.get("Patient/none", headers=XML)
    assert (missing.status_code, from_xml(missing.content)["resourceType"]) == (404, "OperationOutcome")
    assert from_xml(server.get("Patient?birthdate=x", headers=XML).content)["issue"][0]["code"] == "invalid"


@pytest.mark.parametrize(
    ("accept", "xml"),
    [
        ("application/xml", True),
        ("application/fhir+xml, */*;q=0.5", True),
        ("application/fhir+xml;q=0.4, application/fhir+json;q=0.6", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("*/*", False),
    ],
)
def test_the_format_that_is_wanted_most_is_answered(server: Server, accept: str, xml: bool) -> None:
    kind = server.get("Patient/p1", headers={"Accept": accept}).headers["content-type"]
    assert kind.startswith("application/fhir+xml") == xml


def test_a_read_is_conditional_on_version_or_else_on_date(server: Server) -> None:
    modified = server.get("Patient/p1").headers["last-modified"]
    assert server.get("Patient/p1", headers={"If-Modified-Since": modified}).status_code == 304
    before = format_datetime(dt.datetime(2001, 1, 1, tzinfo=dt.UTC), usegmt=True)
    assert server.get("Patient/p1", headers={"If-Modified-Since": before}).status_code == 200
    assert server.get("Patient/p1", headers={"If-Modified-Since": "yesterday"}).status_code == 200
    both = {"If-Modified-Since": modified, "If-None-Match": 'W/"7"'}
    assert server.get("Patient/p1", headers=both).status_code == 200


def test_every_answer_bears_a_request_id(server: Server) -> None:
    assert server.get("Patient/p1", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {server.get("Patient/none").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert server.get("Patient/p1", headers={"X-Request-Id": "<b> x"}).headers["x-request-id"] != "<b> x"


def test_a_preference_for_lenient_handling_is_no_preference_for_strict(server: Server) -> None:
    lenient = {"Prefer": 'handling=lenient, return="representation"'}
    assert server.get("Patient?shoesize=43", headers=lenient).status_code == 200
    assert server.get("Patient?shoesize=43", headers={"Prefer": "respond-async; Handling = strict"}).status_code == 400


def test_the_compartment_of_a_patient_holds_what_is_his(server: Server) -> None:
    assert found(server.get("Patient/p2/Observation")) == ["Observation/activity", "Observation/kidney"]
    assert found(server.get("Patient/p2/Observation?organ=64033007")) == ["Observation/kidney"]
    assert found(server.get("Patient/p2/ImagingStudy")) == []
    posted = requests.post(f"{server.base}/Patient/p2/Observation/_search", data={"code": "113507"}, timeout=TIMEOUT_SECS)
    assert found(posted) == ["Observation/activity"]
    assert outcome(server.get("Patient/p2/Device"))
    page = server.get("Patient/p2/Observation?_count=1")
    assert found(requests.get(following(page) or "", timeout=TIMEOUT_SECS)) == ["Observation/kidney"]


def test_everything_about_a_patient_is_his_compartment_with_what_it_points_to(server: Server) -> None:
    response = server.get("Patient/p2/$everything")
    assert set(found(response, "match")) == MINE
    assert set(found(response, "include")) == {"Medication/fdg", "Provenance/why"}
    assert server.get(f"Patient/p2/{quote('$everything')}").status_code == 200
    assert set(found(server.get("Patient/p2/$everything?_type=Observation"))) == {"Observation/activity", "Observation/kidney"}
    assert found(server.get("Patient/p2/$everything?_since=2999")) == []
    assert "Observation/activity" not in found(server.get("Patient/p2/$everything?end=2026-02-01"), "match")
    assert "Observation/activity" in found(server.get("Patient/p2/$everything?start=2026-03-01&end=2026-03-01"), "match")
    assert outcome(server.get("Patient/none/$everything"))
    assert server.get("Patient/deleted/$everything").status_code == 404
    for wrong in ("_type=Nonsense", "_since=soon", "_count=x", "start=%00"):
        assert server.get(f"Patient/p2/$everything?{wrong}").status_code == 400


def test_everything_comes_in_pages(server: Server) -> None:
    seen: list[str] = []
    url: str | None = f"{server.base}/Patient/p2/$everything?_count=1"
    while url:
        page = requests.get(url, timeout=TIMEOUT_SECS)
        assert len(found(page, "match")) == 1
        seen += found(page, "match")
        url = following(page)
    assert sorted(seen) == sorted(MINE)


@pytest.mark.parametrize("path", ["_history", "Observation/_history", "Device/d1/_history"])
def test_histories_come_in_pages_the_newest_first(server: Server, path: str) -> None:
    whole = server.get(f"{path}?_count=200").json()
    assert validate(whole) == []
    assert whole["total"] == len(whole["entry"])
    times = [entry["response"]["lastModified"] for entry in whole["entry"]]
    assert times == sorted(times, reverse=True)
    seen: list[Any] = []
    url: str | None = f"{server.base}/{path}?_count=2"
    while url:
        page = requests.get(url, timeout=TIMEOUT_SECS)
        seen += page.json()["entry"]
        url = following(page)
    assert seen == whole["entry"]


def test_a_history_can_begin_at_a_moment(server: Server) -> None:
    newest = server.get("Device/d1/_history").json()["entry"][0]["response"]["lastModified"]
    assert len(server.get(f"Device/d1/_history?_since={newest}").json()["entry"]) == 1
    assert server.get("_history?_since=2999").json()["total"] == 0
    assert "Patient/deleted" in str(server.get("Patient/_history").json())
    for wrong in ("_since=soon", "_count=x", "_page=AAAA"):
        assert outcome(server.get(f"_history?{wrong}"))
    assert server.get("Nonsense/_history").status_code == 404
    assert server.get("Patient/none/_history").status_code == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"Observation?code-value-quantity={DCM}|113507$gt300|{UCUM}|MBq", ["activity"]),
        ("Observation?code-value-quantity=113507$gt350||MBq", []),
        ("Observation?code-value-quantity=113507$350", ["activity"]),
        ("Observation?component-code-value-concept=349358000$35321007", ["activity"]),
        ("Observation?component-code-value-concept=89457008$35321007", []),
        ("Observation?tracer=35321007", ["activity"]),
        ("Observation?radionuclide:text=fluorine", ["activity"]),
        ("Observation?cycle=2", ["activity"]),
        ("Observation?cycle=gt2", []),
        ("Observation?cycle:missing=false", ["activity"]),
        ("Observation?component-code-value-concept:missing=false", ["activity"]),
        ("Observation?_id:missing=false&tracer=35321007", ["activity"]),
        ("Observation?_lastUpdated:missing=true", []),
        ("Observation?absorbed-dose=gt4||Gy&organ=64033007", ["kidney"]),
        ("Observation?administered-activity=ge350||MBq", ["activity"]),
        ("Observation?uptake-time=gt1||h&uptake-time=lt1.1||h", ["activity"]),
        ("Observation?uptake-time=gt1.1||h", []),
        ("Observation?source-path=dosimetry", ["kidney"]),
        ("Observation?source-path:contains=row 4", ["kidney"]),
        ("Observation?stated-quantity=436||cGy", ["kidney"]),
        ("Observation?stated-quantity=4.36||Gy", []),
        ("MedicationAdministration?administered-activity=350||MBq", ["given"]),
        ("MedicationAdministration?medication.code=35321007", ["given"]),
        ("Observation?_tag=repaired&_profile=http://p.example/x&_source=urn:s", ["activity"]),
        ("Observation?patient._has:MedicationAdministration:patient:administered-activity=gt1", ["activity", "kidney"]),
    ],
)
def test_pairs_and_the_parameters_of_nuclear_medicine(server: Server, query: str, expected: list[str]) -> None:
    kind = query.partition("?")[0]
    assert found(server.get(query)) == [f"{kind}/{name}" for name in expected]


def test_our_own_parameters_are_declared_where_the_capability_statement_says(server: Server) -> None:
    statement = server.get("metadata").json()
    observation = next(item for item in statement["rest"][0]["resource"] if item["type"] == "Observation")
    own = {item["name"]: item["definition"] for item in observation["searchParam"] if "definition" in item}
    assert set(own) == OWN
    for code, url in own.items():
        declared = server.get(f"SearchParameter/{url.rpartition('/')[2]}").json()
        assert validate(declared) == []
        assert (declared["url"], declared["code"]) == (url, code)
        assert found(server.get(f"SearchParameter?code={code}&base=Observation")) == [f"SearchParameter/isobridge-{code}"]
        assert found(server.get(f"SearchParameter?url={url}")) == [f"SearchParameter/isobridge-{code}"]
    of_administrations = found(server.get("SearchParameter?base=MedicationAdministration&_sort=code"))
    assert of_administrations == ["SearchParameter/isobridge-administered-activity", "SearchParameter/isobridge-stated-quantity"]


@pytest.mark.parametrize(
    "query",
    [
        "Observation?code-value-quantity=113507",
        "Observation?code-value-quantity=113507$x",
        "Observation?code-value-quantity=a$b$c",
        "Observation?code-value-quantity:not=113507$1",
        "Observation?code-value-date=a$9999-99",
        "Observation?cycle=1|a|b",
        "Observation?cycle=two",
        "Observation?_sort=code-value-quantity",
        "Observation?subject:Patient:Patient.name=x",
        "Observation?subject:Patient." + "link:Patient." * 9 + "name=x",
        "Observation?" + "_has:Observation:has-member:" * 9 + "code=x",
        "Patient/p2/Observation?code-value-string=" + "x" * 10_000,
        "Observation?_sort=cycle&_page=WzEsMSxbImEiXV0",
    ],
)
def test_what_cannot_be_meant_is_400(server: Server, query: str) -> None:
    assert outcome(server.get(query))
    assert server.get(query).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "Observation?code-value-string=a$' OR 1=1 --",
        "Observation?code-value-date=113507$le9999",
        "Observation?code-value-quantity=113507$1e300",
        "Observation?cycle=1e400",
        "Observation?_include=*&_include:iterate=*&_revinclude=*&_revinclude:iterate=*",
        "Patient?_revinclude:iterate=*:*&_include:iterate=*",
        "Patient/' OR 1=1 --/Observation",
    ],
)
def test_what_is_strange_or_deep_is_answered(server: Server, query: str) -> None:
    response = server.get(query)
    assert response.status_code in (200, 404), response.text
    assert response.elapsed.total_seconds() < 10


def test_a_search_that_takes_too_long_is_refused(server: Server, tmp_path: Any) -> None:
    store = filled(FhirStore(f"sqlite:///{tmp_path / 'slow.db'}", query_secs=0.0))
    store.transact(transaction(*({**ACTIVITY, "id": f"n{number}"} for number in range(400))))
    running = Server(store)
    try:
        response = running.get("Observation?_sort=-date,code,value-quantity&code:not=x&status:not=y")
        assert response.status_code == 400
        assert "longer than" in outcome(response)["issue"][0]["diagnostics"]
        assert running.get("Observation/n1").status_code == 200
    finally:
        running.stop()
        store.close()
