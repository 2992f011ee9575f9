"""A FHIR server elsewhere as target, other people's and another gateway's: our ids or its own, no version without a reason."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests

from gateway.client_settings import ClientSettings
from gateway.errors import Quarantined, Retryable
from gateway.model import JsonObject
from gateway.publish.delivery import Outcome, deliver
from gateway.publish.fhir_http import Access, FhirHttp
from gateway.publish.fhir_server import FhirServerTarget
from gateway.publish.remote_ids import OWN_ID
from gateway.publish.target import Verdict, classify
from gateway.r4.bundles import transaction
from gateway.spool.deliveries import DeliveryTicket, Published
from gateway.web.passwords import hash_token
from tests.harness.peers import Sekmet, every
from tests.web_site import Site

KINDS = ("Patient", "ImagingStudy", "Observation", "Provenance")


TOKEN, READER = "0123456789abcdef-writes", "0123456789abcdef-reads"


class Server(Protocol):
    """A FHIR server that is not ours to look into."""

    @property
    def fhir_url(self) -> str: ...

    def all(self, kind: str, query: str = "") -> Iterator[dict[str, Any]]: ...


class SecondGateway:
    """Another gateway, whose endpoint takes what ours publishes."""

    def __init__(self, directory: Path, mode: str = "loopback") -> None:
        clients = (
            ClientSettings(name="first", token_hash=hash_token(TOKEN), scopes="system/*.cruds system/AuditEvent.rs"),
            ClientSettings(name="reader", token_hash=hash_token(READER), scopes="system/*.rs system/Observation.c"),
        )
        self.site = Site(directory, web={"fhir_write": mode}, clients=clients if mode == "scoped" else ())
        self.fhir_url = f"{self.site.url}/fhir"

    def all(self, kind: str, query: str = "") -> Iterator[dict[str, Any]]:
        return every(self.fhir_url, kind, query)


@pytest.fixture(scope="module", params=["gateway", pytest.param("sekmet", marks=pytest.mark.needs("sekmet"))])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("peer")
    if request.param == "sekmet":
        with Sekmet(directory) as peer:
            assert isinstance(peer, Sekmet)
            yield peer
        return
    second = SecondGateway(directory)
    yield second
    second.site.close()


class Memory:
    """What the ledger's table ``published`` remembers, without a ledger. Can forget, as after a kill before the commit."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Published] = {}
        self.forgetful = False

    def known(self, ids: Sequence[str]) -> Mapping[tuple[str, str], Published]:
        return {key: row for key, row in self.rows.items() if key[1] in ids}

    def published(self, target: str, ids: Sequence[str]) -> Mapping[tuple[str, str], Published]:
        return self.known(ids)

    def verified(self, ticket: DeliveryTicket, held: Sequence[Published], *, now: float) -> bool:
        if not self.forgetful:
            self.rows.update({(row.resource_type, row.resource_id): row for row in held})
        return True


class Line:
    """One target on one server with a memory of its own."""

    def __init__(self, server: Server, *, ids: str, max_bundle_bytes: int = 2 << 20, token: str | None = None) -> None:
        self.memory = Memory()
        http = FhirHttp(Access(url=server.fhir_url, token=token))
        self.target = FhirServerTarget("peer", http, self.memory.known, ids=ids, max_bundle_bytes=max_bundle_bytes)

    def deliver(self, resources: Sequence[JsonObject]) -> Outcome:
        ticket = DeliveryTicket(
            delivery_id=1, token=1, target="peer", attempts=1, created_at=0.0, kind="study", subject_key="s", version=1,
            bundle=transaction(resources),
        )  # fmt: skip
        return deliver(ticket, self.target, self.memory, now=time.time())  # type: ignore[arg-type]


def resources(name: str, *, doses: int = 1, description: str = "PET", recorded: str = "2026-01-01T00:00:00Z") -> list[JsonObject]:
    """A patient, a study, some doses and the Provenance, as one subject of ours."""
    patient: JsonObject = {
        "resourceType": "Patient",
        "id": f"{name}-patient",
        "identifier": [{"system": "urn:site:pid", "value": name}],
        "name": [{"family": "Invented"}],
    }
    subject = {"reference": f"Patient/{name}-patient"}
    study: JsonObject = {
        "resourceType": "ImagingStudy",
        "id": f"{name}-study",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:1.2.{int.from_bytes(name.encode())}"}],
        "status": "available",
        "subject": subject,
        "description": description,
    }
    observations: list[JsonObject] = [
        {
            "resourceType": "Observation",
            "id": f"{name}-dose-{number}",
            "status": "final",
            "code": {"text": "Administered activity"},
            "subject": subject,
            "derivedFrom": [{"reference": f"ImagingStudy/{name}-study"}],
            "valueQuantity": {"value": 394, "unit": "MBq"},
        }
        for number in range(doses)
    ]
    named = [patient, study, *observations]
    provenance: JsonObject = {
        "resourceType": "Provenance",
        "id": f"{name}-provenance",
        "target": [{"reference": f"{item['resourceType']}/{item['id']}"} for item in named],
        "recorded": recorded,
        "agent": [{"who": {"display": "Isobridge"}}],
    }
    return [*named, provenance]


def mine(server: Server, name: str) -> dict[str, Any]:
    """What the server holds of one test's patient, by type (the last of a type wins)."""
    (patient,) = server.all("Patient", f"&identifier=urn:site:pid|{name}")
    found: dict[str, Any] = {"Patient": patient}
    for kind in ("ImagingStudy", "Observation"):
        for item in server.all(kind, f"&patient=Patient/{patient['id']}"):
            found[kind] = item
    for item in server.all("Provenance", f"&target=Patient/{patient['id']}"):
        found["Provenance"] = item
    return found


@pytest.mark.parametrize("ids", ["auto", "ours", "server"])
def test_one_resource_one_version_however_often_it_is_sent(server: Server, ids: str) -> None:
    name = f"Again{ids}"
    line = Line(server, ids=ids)
    line.memory.forgetful = True  # every delivery looks like the first, as after a kill between sending and remembering
    for second in range(3):
        assert line.deliver(resources(name, recorded=f"2026-01-01T00:00:0{second}Z")) is Outcome.SENT
    line.memory.forgetful = False
    assert line.deliver(resources(name)) is Outcome.SENT
    assert line.deliver(resources(name)) is Outcome.UNCHANGED
    found = mine(server, name)
    assert found.keys() == set(KINDS)
    assert {item["meta"]["versionId"] for item in found.values()} == {"1"}
    assert len(list(server.all("Observation", f"&patient=Patient/{found['Patient']['id']}"))) == 1
    assert (found["Patient"]["id"] == f"{name}-patient") is (ids != "server")
    assert found["ImagingStudy"]["subject"]["reference"] == f"Patient/{found['Patient']['id']}"


@pytest.mark.parametrize("ids", ["ours", "server"])
def test_a_change_makes_one_new_version_of_what_changed(server: Server, ids: str) -> None:
    name = f"Change{ids}"
    line = Line(server, ids=ids)
    line.deliver(resources(name))
    assert line.deliver(resources(name, description="PET/CT")) is Outcome.SENT
    found = mine(server, name)
    assert found["ImagingStudy"]["description"] == "PET/CT"
    assert {kind: item["meta"]["versionId"] for kind, item in found.items()} == {
        "Patient": "1", "ImagingStudy": "2", "Observation": "1", "Provenance": "1",
    }  # fmt: skip


@pytest.mark.parametrize("ids", ["ours", "server"])
def test_a_large_subject_travels_in_several_transactions(server: Server, ids: str) -> None:
    name = f"Large{ids}"
    line = Line(server, ids=ids, max_bundle_bytes=4096)
    assert line.deliver(resources(name, doses=60)) is Outcome.SENT
    found = mine(server, name)
    assert len(list(server.all("Observation", f"&patient=Patient/{found['Patient']['id']}"))) == 60
    assert len(found["Provenance"]["target"]) == 62


def test_a_patient_that_the_server_knows_already_is_referred_to_and_left_as_it_is(server: Server) -> None:
    site = {"resourceType": "Patient", "identifier": [{"system": "urn:site:pid", "value": "Known"}], "name": [{"family": "Site"}]}
    own = requests.post(f"{server.fhir_url}/Patient", json=site, timeout=10).json()["id"]
    line = Line(server, ids="server")
    for _ in range(2):
        line.deliver(resources("Known"))
    found = mine(server, "Known")
    assert found["Patient"]["id"] == own
    assert found["Patient"]["name"] == [{"family": "Site"}]
    assert found["Patient"]["meta"]["versionId"] == "1"
    assert found["ImagingStudy"]["subject"]["reference"] == f"Patient/{own}"


def test_two_patients_under_one_identifier_are_for_a_person(server: Server) -> None:
    site = {"resourceType": "Patient", "identifier": [{"system": "urn:site:pid", "value": "Twice"}]}
    for _ in range(2):
        assert requests.post(f"{server.fhir_url}/Patient", json=site, timeout=10).ok
    with pytest.raises(Quarantined, match="2 resources of type Patient") as caught:
        Line(server, ids="server").deliver(resources("Twice"))
    assert classify(caught.value) is Verdict.PARK


def test_a_reference_to_what_is_not_there_yet_is_made_whole_by_the_next_version(server: Server) -> None:
    patient, study, dose, provenance = resources("Later")
    line = Line(server, ids="server")
    line.deliver([patient, dose, provenance])
    (held,) = server.all("Observation", f"&identifier={OWN_ID}|Later-dose-0")
    assert held["derivedFrom"] == [{"type": "ImagingStudy", "identifier": {"system": OWN_ID, "value": "Later-study"}}]
    line.deliver([patient, study])
    line.deliver([patient, dose, provenance])
    found = mine(server, "Later")
    assert found["Observation"]["derivedFrom"] == [{"reference": f"ImagingStudy/{found['ImagingStudy']['id']}"}]


def test_what_the_server_refuses_is_told_without_values(server: Server) -> None:
    wrong = {"resourceType": "Patient", "id": "wrong", "gender": "Zebrafish", "birthDate": "not-a-date-Zebrafish"}
    with pytest.raises(Quarantined) as caught:
        Line(server, ids="ours").deliver([wrong])
    assert "refuses this (HTTP 4" in caught.value.reason
    assert "Zebrafish" not in caught.value.reason


def test_a_server_that_is_away_is_left_alone(tmp_path: Path) -> None:
    http = FhirHttp(Access(url="http://127.0.0.1:9/fhir"))
    with pytest.raises(Retryable) as caught:
        FhirServerTarget("peer", http, lambda _ids: {}).send(transaction(resources("Away")))
    assert classify(caught.value) is Verdict.DOWN


def test_a_second_gateway_takes_what_comes_with_the_right_token_and_records_it(tmp_path: Path) -> None:
    second = SecondGateway(tmp_path, "scoped")
    try:
        for token in (None, READER):
            with pytest.raises(Retryable) as caught:
                Line(second, ids="ours", token=token).deliver(resources("Scoped"))
            assert classify(caught.value) is Verdict.DOWN
        assert second.site.store.search("Patient", [("identifier", "urn:site:pid|Scoped")]).total == 0
        line = Line(second, ids="ours", token=TOKEN)
        assert line.deliver(resources("Scoped")) is Outcome.SENT
        who = {"Authorization": f"Bearer {TOKEN}"}
        trail = requests.get(f"{second.fhir_url}/AuditEvent?patient=Scoped-patient", headers=who, timeout=10).json()
        told = [entry["resource"] for entry in trail["entry"]]
        assert {"transaction", "batch"} & {subtype["code"] for event in told for subtype in event["subtype"]}
        assert all(event["agent"][0]["name"] == "first" for event in told)
    finally:
        second.site.close()
