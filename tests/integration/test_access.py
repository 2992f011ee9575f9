"""Promises of access: each program sees what its token is for, on every road, and every access is recorded.

One gateway with two patients. The cohort has one of them; whatever names the other is looked for in all that its token is answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.client_settings import ClientSettings, IssuerSettings
from gateway.r4.validate import validate
from gateway.store.cohort import create_group
from gateway.web.login import MOST_FAILURES
from gateway.web.passwords import hash_password, hash_token
from tests.builders import pet, uid
from tests.fhir_samples import deletion, transaction
from tests.signing import ec_key, key_set, pem, rsa_key, signed
from tests.web_site import Site

TIMEOUT_SECS = 20
RSA, EC, ISSUER_KEY = rsa_key(), ec_key(), rsa_key()
ISSUER, WARDS = "https://login.example/realms/imaging", "https://login.example/realms/wards"
STUDY_A, STUDY_B = str(pet().StudyInstanceUID), uid("study of b")
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}


def observation(name: str, patient: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"text": "note"},
        "subject": {"reference": f"Patient/{patient}"},
        "device": {"reference": "Device/shared"},
        **more,
    }


def provenance(name: str, *targets: str) -> dict[str, Any]:
    return {
        "resourceType": "Provenance",
        "id": name,
        "target": [{"reference": target} for target in targets],
        "recorded": "2026-11-01T10:00:00Z",
        "agent": [{"who": {"display": "somebody"}}],
    }


class Clinic:
    """The gateway, its two patients, and a token for each kind of program."""

    def __init__(self, directory: Path, more: dict[str, tuple[str, str | None]] | None = None) -> None:
        key_file, issuer_file = directory / "lung.pem", directory / "issuer.json"
        key_file.write_text(pem(RSA))
        issuer_file.write_text(key_set(k=ISSUER_KEY))
        static = {
            "observations": ("system/Observation.rs", None),
            "reader": ("system/Observation.r", None),
            "everything": ("system/*.rs", None),
            "images": ("system/ImagingStudy.rs", None),
            "cohort": ("system/*.rs", "lung"),
            "nowhere": ("system/*.rs", "no-such-group"),
            "watcher": ("system/AuditEvent.rs", None),
            **(more or {}),
        }
        clients = [
            ClientSettings(name=name, token_hash=hash_token(name), scopes=scopes, group=group)
            for name, (scopes, group) in static.items()
        ]
        clients += [
            ClientSettings(name="signer", keys=key_set(k1=EC), scopes="system/*.rs"),
            ClientSettings(name="plain", keys_file=key_file, scopes="system/Observation.rs", token_minutes=2),
            ClientSettings(name="hasty", token_hash=hash_token("hasty"), scopes="system/*.rs", requests_per_minute=12),
            ClientSettings(name="outside", issuer="hospital", subject="svc-lung", scopes="system/Observation.rs system/Device.r"),
            ClientSettings(name="narrow", keys=key_set(k1=EC), scopes="system/Observation.rs?_id=own system/Device.r"),
            ClientSettings(name="ward", issuer="wards", subject="svc-ward", scopes="system/*.rs"),
        ]
        issuers = (
            IssuerSettings(name="hospital", url=ISSUER, audience="isobridge", keys_file=issuer_file, client_claim="azp"),
            IssuerSettings(name="wards", url=WARDS, audience="isobridge", keys_file=issuer_file, group_claim="cohort"),
        )
        web = {"users": {"ana": hash_password("correct horse")}, "tokens": {"old": hash_token("old")}, "fhir_write": "scoped"}
        self.site = Site(directory / "data", web=web, clients=tuple(clients), issuers=issuers)
        self.directory = directory / "data"
        self._fill()

    def _fill(self) -> None:
        site = self.site
        site.put(pet(PatientID="AAA", PatientName="Ours^Anna"))
        theirs = {"StudyInstanceUID": STUDY_B, "SeriesInstanceUID": uid("series b"), "SOPInstanceUID": uid("object b")}
        site.put(pet(PatientID="BBB", PatientName="Secret^Berta", **theirs))
        site.work()
        found = {
            one.stored.resource()["identifier"][0]["value"]: one.stored.id for one in site.store.search("Patient", []).entries
        }
        self.ours, self.theirs = found["AAA"], found["BBB"]
        device = {"resourceType": "Device", "id": "shared", "deviceName": [{"name": "camera", "type": "other"}]}
        other = {"resourceType": "Device", "id": "private", "patient": {"reference": f"Patient/{self.theirs}"}}
        only_theirs = {"resourceType": "Practitioner", "id": "of-theirs"}
        site.store.transact(
            transaction(
                device,
                other,
                only_theirs,
                observation("own", self.ours),
                observation("not-own", self.theirs, performer=[{"reference": "Practitioner/of-theirs"}]),
                # It stands in both compartments, and would tell of the other.
                observation("of-both", self.ours, performer=[{"reference": f"Patient/{self.theirs}"}]),
                # A name where no index looks.
                observation("hidden", self.ours, extension=[_extension(self.theirs)]),
                observation("moved", self.theirs, note=[{"text": "Secret note"}]),
                provenance("p-own", "Observation/own"),
                provenance("p-theirs", "Observation/not-own"),
                provenance("p-both", "Observation/own", "Observation/not-own"),
            )
        )
        site.store.transact(transaction(observation("moved", self.ours)))
        site.store.transact(transaction(observation("gone", self.theirs)))
        site.store.transact(deletion("Observation", "gone"))
        create_group(site.store, "lung", [f"Patient?_id={self.ours}"])
        create_group(site.store, "others", [f"Patient?_id={self.theirs}"])

    def get(self, who: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {who}", **options.pop("headers", {})}
        return self.site.get(path, headers=headers, **options)

    def found(self, who: str, path: str) -> set[str]:
        """Type/id of all that a bundle holds."""
        answer = self.get(who, path)
        assert answer.status_code == 200, answer.text
        entries = [entry.get("resource", {}) for entry in answer.json().get("entry", ())]
        return {f"{one.get('resourceType')}/{one.get('id')}" for one in entries}

    def ask(self, assertion: str, scope: str, **more: str) -> requests.Response:
        form = {"grant_type": "client_credentials", "client_assertion_type": TYPE, "client_assertion": assertion, "scope": scope}
        return requests.post(f"{self.site.url}/fhir/auth/token", data=form | more, timeout=TIMEOUT_SECS)

    def assertion(self, name: str, key: Any, algorithm: str, **changes: Any) -> str:
        endpoint = self.site.get("/fhir/.well-known/smart-configuration").json()["token_endpoint"]
        claims = {"iss": name, "sub": name, "aud": endpoint, "exp": 200, "jti": uid(str(time.monotonic_ns()))}
        return signed(key, algorithm, claims | changes, kid="k1")


def _extension(patient: str) -> dict[str, Any]:
    return {"url": "https://example.org/x", "valueReference": {"reference": f"Patient/{patient}"}}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    running = Clinic(tmp_path_factory.mktemp("clinic"))
    yield running
    running.site.close()


def test_a_registered_client_gets_a_token_and_uses_it(clinic: Clinic) -> None:
    told = clinic.site.get("/fhir/.well-known/smart-configuration").json()
    statement = clinic.site.get("/fhir/metadata").json()
    assert validate(statement) == []
    security = statement["rest"][0]["security"]
    assert security["extension"][0]["extension"] == [{"url": "token", "valueUri": told["token_endpoint"]}]
    assert {"SMART-on-FHIR", "OAuth"} <= {one["coding"][0]["code"] for one in security["service"]}
    assert told["token_endpoint"] == f"{clinic.site.url}/fhir/auth/token"
    assert told["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    answer = clinic.ask(clinic.assertion("signer", EC, "ES384"), "system/Observation.rs system/Device.r")
    assert answer.status_code == 200, answer.text
    given = answer.json()
    assert (given["token_type"], given["expires_in"], given["scope"]) == ("bearer", 300, "system/Observation.rs system/Device.r")
    assert answer.headers["cache-control"] == "no-store"
    assert clinic.get(given["access_token"], "/fhir/Observation").status_code == 200
    assert clinic.get(given["access_token"], "/fhir/Patient").status_code == 403


def test_a_token_gives_no_more_than_is_registered(clinic: Clinic) -> None:
    answer = clinic.ask(clinic.assertion("plain", RSA, "RS384"), "system/*.cruds")
    assert (answer.json()["scope"], answer.json()["expires_in"]) == ("system/Observation.rs", 120)
    token = answer.json()["access_token"]
    assert clinic.get(token, "/fhir/Observation/own").status_code == 200
    assert clinic.get(token, f"/fhir/Patient/{clinic.ours}").status_code == 403
    assert clinic.get(token, "/fhir/AuditEvent").status_code == 403


@pytest.mark.parametrize(
    ("scope", "error", "told"),
    [
        ("system/Observation.rs?_sort=date", "invalid_scope", "search parameters of its own type with values"),
        ("system/Observation.rs?no-such=Secret", "invalid_scope", "search parameters of its own type with values"),
        ("system/Patient.rs", "invalid_scope", "nothing of that is registered"),
        ("", "invalid_scope", "scope is missing"),
    ],
)
def test_a_wrong_scope_is_told(clinic: Clinic, scope: str, error: str, told: str) -> None:
    answer = clinic.ask(clinic.assertion("plain", RSA, "RS384"), scope)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert told in answer.json()["error_description"]


def test_an_assertion_opens_once_and_only_here(clinic: Clinic) -> None:
    assertion = clinic.assertion("plain", RSA, "RS384")
    assert clinic.ask(assertion, "system/Observation.r").status_code == 200
    again = clinic.ask(assertion, "system/Observation.r")
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    elsewhere = clinic.assertion("plain", RSA, "RS384", aud="https://other.example/fhir/auth/token")
    assert clinic.ask(elsewhere, "system/Observation.r").status_code == 401
    assert clinic.ask("x", "system/Observation.r", grant_type="password").json()["error"] == "unsupported_grant_type"
    assert clinic.get(assertion, "/fhir/Observation").status_code == 401  # it is no token


def test_tokens_of_the_hospitals_issuer_open_what_is_in_both(clinic: Clinic) -> None:
    claims = {"iss": ISSUER, "aud": "isobridge", "exp": 60, "azp": "svc-lung", "scope": "profile system/*.r"}
    token = signed(ISSUER_KEY, "RS256", claims, kid="k")
    assert clinic.get(token, "/fhir/Observation/own").status_code == 200
    assert clinic.get(token, "/fhir/Observation").status_code == 403
    assert clinic.get(token, f"/fhir/Patient/{clinic.ours}").status_code == 403
    for changes in ({"azp": "svc-other"}, {"aud": "account"}, {"exp": -90}, {"iss": "https://login.example"}):
        assert clinic.get(signed(ISSUER_KEY, "RS256", claims | changes, kid="k"), "/fhir/Observation/own").status_code == 401
    none = signed(ISSUER_KEY, "RS256", claims | {"scope": "profile"}, kid="k")
    assert clinic.get(none, "/fhir/Observation/own").status_code == 403


def test_a_token_that_was_good_once_is_no_guess(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = {"iss": ISSUER, "aud": "isobridge", "exp": -90, "azp": "svc-lung", "scope": "system/*.r"}
    over = signed(ISSUER_KEY, "RS256", claims, kid="k")
    forged = signed(RSA, "RS256", claims, kid="k")
    own = clinic.ask(clinic.assertion("plain", RSA, "RS384"), "system/Observation.r").json()["access_token"]
    assert clinic.get(own, "/fhir/Observation/own").status_code == 200
    clock = time.time
    with monkeypatch.context() as later:
        book = clinic.site.app.state.doors.bearers._book
        later.setattr(book, "_clock", lambda: clock() + 600)
        answers = [clinic.get(token, "/fhir/Observation/own") for token in (over, own) for _ in range(MOST_FAILURES + 1)]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["issue"][0]["diagnostics"] for answer in answers} == {"this token has expired; ask for a new one"}
    assert clinic.get("everything", "/fhir/Observation/own").status_code == 200
    assert clinic.get(forged, "/fhir/Observation/own").json()["issue"][0]["diagnostics"] == "this name or password is not known"


def test_a_token_of_an_issuer_may_name_the_group_whose_patients_it_shows(clinic: Clinic) -> None:
    claims = {"iss": WARDS, "aud": "isobridge", "exp": 60, "sub": "svc-ward", "scope": "system/*.rs"}

    def seen(**changes: Any) -> requests.Response:
        return clinic.get(signed(ISSUER_KEY, "RS256", claims | changes, kid="k"), "/fhir/Patient?_elements=id")

    for cohort, patient in (("lung", clinic.ours), ("Group/lung", clinic.ours), (["others"], clinic.theirs)):
        assert [entry["resource"]["id"] for entry in seen(cohort=cohort).json()["entry"]] == [patient]
    for nothing in ({}, {"cohort": ""}, {"cohort": ["lung", "others"]}, {"cohort": "lung others"}, {"cohort": {"id": "lung"}}):
        assert seen(**nothing).status_code == 401
    assert seen(cohort="no-such").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/fhir/Patient",
        "/fhir/Patient/{ours}",
        "/fhir/Patient/{ours}/$everything",
        "/fhir/Patient/{ours}/Observation/x",
        "/fhir/Observation?subject:Patient.name=ours",
        "/fhir/Observation?patient.birthdate=gt1900",
        "/fhir/Observation?_has:Provenance:target:recorded=gt1900",
        "/fhir/_history",
        "/fhir/Patient/_history",
        "/fhir/ViewDefinition/studies/$run",
        "/fhir/$nothing",
        "/dicom-web/studies",
        "/dicom-web/studies/{study}",
    ],
)
def test_rights_on_one_type_open_no_other(clinic: Clinic, path: str) -> None:
    answer = clinic.get("observations", path.format(ours=clinic.ours, study=STUDY_A))
    assert answer.status_code in (403, 404), answer.text
    assert "Ours" not in answer.text
    if "nothing" not in path and "ViewDefinition/studies" not in path:
        assert answer.status_code == 403


def test_includes_and_exports_leave_out_what_may_not_be_read(clinic: Clinic) -> None:
    found = clinic.found("observations", "/fhir/Observation?_id=own&_include=*&_revinclude=Provenance:target&_include:iterate=*")
    assert {one.partition("/")[0] for one in found} == {"Observation", "OperationOutcome"}
    manifest = export(clinic, "observations", "/fhir/$export")
    assert {item["type"] for item in manifest["output"]} == {"Observation"}
    for query in ("_type=Patient", "_type=Observation,Device", "_typeFilter=Observation%3Fpatient.name%3Dours"):
        assert clinic.get("observations", f"/fhir/$export?{query}", headers=ASYNC).status_code == 403


def test_a_table_follows_no_reference_to_what_may_not_be_read(clinic: Clinic) -> None:
    path = "/fhir/ViewDefinition/administrations/$run?_format=ndjson"
    whole, narrow = (clinic.get(who, path) for who in ("everything", "observations"))
    assert STUDY_A in whole.text
    assert narrow.status_code == 200
    assert STUDY_A not in narrow.text


def test_reading_and_searching_are_apart(clinic: Clinic) -> None:
    assert clinic.get("reader", "/fhir/Observation/own").status_code == 200
    assert clinic.get("reader", "/fhir/Observation/own/_history").status_code == 200
    assert clinic.get("reader", "/fhir/Observation").status_code == 403
    headers, search = {"Authorization": "Bearer reader"}, f"{clinic.site.url}/fhir/Observation/_search"
    assert requests.post(search, data={"code": "x"}, headers=headers, timeout=TIMEOUT_SECS).status_code == 403
    assert clinic.get("reader", "/fhir/$export", headers=ASYNC).status_code == 202  # of nothing: it may search no type
    assert export(clinic, "reader", "/fhir/$export")["output"] == []


def test_images_tell_names_so_they_need_the_right_to_read_patients(clinic: Clinic) -> None:
    assert clinic.get("images", "/fhir/ImagingStudy").status_code == 200
    assert clinic.get("images", "/dicom-web/studies").status_code == 403
    assert clinic.get("everything", f"/dicom-web/studies/{STUDY_B}").status_code == 200


def export(clinic: Clinic, who: str, path: str) -> dict[str, Any]:
    started = clinic.get(who, path, headers=ASYNC)
    assert started.status_code == 202, started.text
    where = started.headers["content-location"].removeprefix(clinic.site.url)
    end = time.monotonic() + TIMEOUT_SECS
    while time.monotonic() < end:
        answer = clinic.get(who, where)
        if answer.status_code == 200:
            manifest: dict[str, Any] = answer.json()
            return manifest
        time.sleep(0.02)
    raise AssertionError("the export did not come to an end")


SEEN_NOTHING = [
    "/fhir/Patient/{theirs}",
    "/fhir/Patient/{theirs}/$everything",
    "/fhir/Patient/{theirs}/_history",
    "/fhir/Observation/not-own",
    "/fhir/Observation/of-both",
    "/fhir/Observation/hidden",
    "/fhir/Observation/gone",
    "/fhir/Observation/gone/_history",
    "/fhir/Observation/gone/_history/1",
    "/fhir/Observation/moved/_history/1",
    "/fhir/Observation/not-own/_history/1",
    "/fhir/Device/private",
    "/fhir/Practitioner/of-theirs",
    "/fhir/Provenance/p-theirs",
    "/fhir/Provenance/p-both",
    "/fhir/Group/others",
    "/dicom-web/studies/{study}",
    "/dicom-web/studies/{study}/metadata",
    "/dicom-web/studies/{study}/series",
    "/dicom-web/studies/{study}/series/{series}/instances/{object}",
    "/dicom-web/studies/{study}/series/{series}/instances/{object}/frames/1",
    "/dicom-web/studies/{study}/series/{series}/instances/{object}/bulkdata/7FE00010",
]


@pytest.mark.parametrize("path", SEEN_NOTHING)
def test_who_is_limited_to_a_group_finds_nothing_of_others(clinic: Clinic, path: str) -> None:
    words = {"theirs": clinic.theirs, "study": STUDY_B, "series": uid("series b"), "object": uid("object b")}
    answer = clinic.get("cohort", path.format(**words))
    assert answer.status_code == 404, answer.text


ROADS = [
    "/fhir/Patient",
    "/fhir/Observation?_count=200",
    "/fhir/Observation?_include=*&_include:iterate=*&_revinclude=*&_count=200",
    "/fhir/Device?_revinclude=Observation:device&_revinclude:iterate=Provenance:target",
    "/fhir/Device",
    "/fhir/Group?_include=Group:member",
    "/fhir/ImagingStudy?_include=ImagingStudy:patient&_revinclude=Observation:derived-from",
    "/fhir/Provenance?_include=Provenance:target&_count=200",
    "/fhir/Practitioner",
    "/fhir/Patient/{ours}/$everything?_count=200",
    "/fhir/Patient/{theirs}/Observation",
    "/fhir/_history?_count=200",
    "/fhir/Observation/_history?_count=200",
    "/fhir/Observation/moved/_history",
    "/fhir/ViewDefinition/studies/$run?_format=csv",
    "/fhir/ViewDefinition/series/$run?_format=csv",
    "/dicom-web/studies",
    "/dicom-web/series",
    "/dicom-web/instances",
    "/dicom-web/studies?PatientID=BBB",
    "/dicom-web/studies?StudyInstanceUID={study}",
    "/dicom-web/series?SeriesInstanceUID={series}",
]


@pytest.mark.parametrize("path", ROADS)
def test_no_road_leads_out_of_the_group(clinic: Clinic, path: str) -> None:
    words = {"ours": clinic.ours, "theirs": clinic.theirs, "study": STUDY_B, "series": uid("series b")}
    answer = clinic.get("cohort", path.format(**words))
    assert answer.status_code in (200, 404), answer.text
    text = answer.text.replace(path.format(**words), "")
    for secret in (clinic.theirs, STUDY_B, "Secret", "BBB", "not-own", "of-theirs", "gone"):
        assert secret not in text.split('"link"')[0] + text.partition('"entry"')[2], secret


@pytest.mark.parametrize(
    "query",
    [
        "Device?_has:Observation:device:subject=Patient/{theirs}",
        "Device?_has:Observation:device:_id=not-own",
        "Observation?device.patient=Patient/{theirs}",
        "Observation?subject:Patient.name=secret",
        "Observation?device:Device._has:Observation:device:_id=not-own",
        "Patient?_has:Group:member:_id=others",
        "Observation?subject=Patient/{theirs}&_summary=count",
        "Patient?identifier=BBB&_summary=count",
        "Practitioner?_id=of-theirs&_summary=count",
        "Provenance?target=Observation/not-own&_summary=count",
        "Observation?_id=moved&note=x&_has:Provenance:target:_id=p-theirs",
    ],
)
def test_no_question_tells_of_others(clinic: Clinic, query: str) -> None:
    told = clinic.get("cohort", f"/fhir/{query.format(theirs=clinic.theirs)}").json()
    assert told["total"] == 0, told


def test_the_cohort_itself_is_seen_whole(clinic: Clinic) -> None:
    assert clinic.found("cohort", "/fhir/Patient") == {f"Patient/{clinic.ours}"}
    assert {"Observation/own", "Observation/moved"} <= clinic.found("cohort", "/fhir/Observation?_count=200")
    assert clinic.found("cohort", "/fhir/Group") == {"Group/lung"}
    assert "Device/shared" in clinic.found("cohort", "/fhir/Device")
    assert "Provenance/p-own" in clinic.found("cohort", "/fhir/Provenance?target=Observation/own")
    assert clinic.get("cohort", "/fhir/Observation/own").status_code == 200
    assert clinic.get("cohort", "/fhir/StructureDefinition").status_code == 200
    history = clinic.get("cohort", "/fhir/Observation/moved/_history").json()
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == ["2"]
    assert clinic.get("cohort", f"/dicom-web/studies/{STUDY_A}").status_code == 200
    studies = clinic.get("cohort", "/dicom-web/studies").json()
    assert [item["0020000D"]["Value"] for item in studies] == [[STUDY_A]]
    rows = clinic.get("cohort", "/fhir/ViewDefinition/studies/$run?_format=ndjson").text
    assert STUDY_A in rows


@pytest.mark.parametrize("path", ["/fhir/$export", "/fhir/Patient/$export", "/fhir/Group/lung/$export"])
def test_every_export_of_a_cohort_is_one_of_the_cohort(clinic: Clinic, path: str) -> None:
    manifest = export(clinic, "cohort", path)
    lines = [clinic.get("cohort", item["url"].removeprefix(clinic.site.url)).text for item in manifest["output"]]
    assert any("Observation" in text and '"own"' in text for text in lines)
    for secret in (clinic.theirs, STUDY_B, "Secret", "not-own", "of-theirs"):
        assert all(secret not in text for text in lines)
    url = manifest["output"][0]["url"].removeprefix(clinic.site.url)
    assert clinic.get("everything", url).status_code == 404  # of another client


def test_a_cohort_is_closed_to_the_rest(clinic: Clinic) -> None:
    assert clinic.get("cohort", "/fhir/Group/others/$export", headers=ASYNC).status_code == 404
    assert clinic.get("cohort", "/fhir/ViewDefinition/studies/$run?group=others").status_code == 404
    assert clinic.get(
        "cohort", "/fhir/$export?_type=Observation&_typeFilter=Observation%3Fsubject%3DPatient%2Fx", headers=ASYNC
    ).ok
    headers = {"Authorization": "Bearer cohort", "Content-Type": "application/dicom"}
    stored = requests.post(f"{clinic.site.url}/dicom-web/studies", data=b"x", headers=headers, timeout=TIMEOUT_SECS)
    assert stored.status_code == 403
    assert clinic.get("nowhere", "/fhir/Observation").status_code == 403
    assert clinic.get("nowhere", "/fhir/Observation/own").status_code == 403


def bundle(clinic: Clinic, who: str, form: str, *requests_in_it: tuple[str, str]) -> requests.Response:
    resource = observation("forged", clinic.ours)
    entries = [
        {"request": {"method": method, "url": url}, **({"resource": resource} if method in ("PUT", "POST") else {})}
        for method, url in requests_in_it
    ]
    body = {"resourceType": "Bundle", "type": form, "entry": entries}
    headers = {"Authorization": f"Bearer {who}", "Content-Type": "application/fhir+json"}
    return requests.post(f"{clinic.site.url}/fhir", json=body, headers=headers, timeout=TIMEOUT_SECS)


@pytest.mark.parametrize("form", ["batch", "transaction"])
def test_a_bundle_is_no_way_around(clinic: Clinic, form: str) -> None:
    for url in (f"Patient/{clinic.theirs}", "Observation/not-own", "Observation/moved/_history/1", "Group/others"):
        answer = bundle(clinic, "cohort", form, ("GET", url))
        statuses = [entry["response"]["status"][:3] for entry in answer.json().get("entry", ())]
        assert statuses == ["404"] if form == "batch" else answer.status_code == 404, answer.text
        assert "Secret" not in answer.text
    narrow = bundle(clinic, "observations", form, ("GET", f"Patient/{clinic.ours}"))
    assert '"403"' in narrow.text or narrow.status_code == 403
    assert "Ours" not in narrow.text
    for who in ("cohort", "everything", "old", "reader"):
        written = bundle(clinic, who, form, ("PUT", "Observation/forged"), ("GET", "Observation/own"))
        assert written.status_code == 403 or written.json()["entry"][0]["response"]["status"].startswith("403"), written.text
        assert clinic.site.store.read("Observation", "forged") is None


def test_who_may_not_write_changes_nothing(clinic: Clinic) -> None:
    resource = observation("own", clinic.ours, status="cancelled")
    for who in ("cohort", "everything", "observations", "old"):
        headers = {"Authorization": f"Bearer {who}", "Content-Type": "application/fhir+json"}
        put = requests.put(f"{clinic.site.url}/fhir/Observation/own", json=resource, headers=headers, timeout=TIMEOUT_SECS)
        gone = requests.delete(f"{clinic.site.url}/fhir/Observation/own", headers=headers, timeout=TIMEOUT_SECS)
        assert (put.status_code, gone.status_code) == (403, 403)
    stored = clinic.site.store.read("Observation", "own")
    assert stored is not None
    assert (stored.version, stored.deleted) == (1, False)


def test_clients_open_no_pages_and_no_metrics(clinic: Clinic) -> None:
    for path in ("/", "/studies", "/metrics", "/fhirx"):
        assert clinic.get("everything", path).status_code == 401
    assert clinic.get("old", "/metrics").status_code == 200
    assert clinic.get("old", "/fhir/Patient").status_code == 200


def test_the_open_addresses_open_nothing_else(clinic: Clinic) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = requests.request(method, f"{clinic.site.url}/fhir/auth/token", timeout=TIMEOUT_SECS)
        assert answer.status_code in (403, 404, 405), answer.text
    for path in (
        "/fhir/auth/token/",
        "/fhir/auth/token/x",
        "/fhir//auth/token",
        "/fhir/.well-known/smart-configuration/../../Patient",
    ):
        assert clinic.site.get(path).status_code == 401


def test_who_asks_too_often_waits(clinic: Clinic) -> None:
    answers = [clinic.get("hasty", "/fhir/Patient/nobody") for _ in range(5)]
    assert [one.status_code for one in answers] == [404, 404, 404, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 5
    assert answers[-1].json()["issue"][0]["code"] == "throttled"


def test_every_access_is_recorded_for_those_who_watch(clinic: Clinic) -> None:
    clinic.get("observations", "/fhir/Observation/own")
    clinic.get("everything", "/fhir/Patient?family=Unspeakable&_count=1&Unspeakable=1")
    clinic.get("wrong-token", "/fhir/Patient")
    clinic.get("everything", f"/dicom-web/studies/{STUDY_A}")
    answer = clinic.get("watcher", "/fhir/AuditEvent?_count=200")
    assert answer.status_code == 200, answer.text
    events = [entry["resource"] for entry in answer.json()["entry"]]
    assert all(validate(event) == [] for event in events)
    read = next(one for one in events if one["agent"][0].get("altId") == "observations" and one["action"] == "R")
    named = [entity["what"]["reference"] for entity in read["entity"]]
    assert named == ["Observation/own", f"Patient/{clinic.ours}"]
    search = next(one for one in events if one["agent"][0].get("altId") == "everything" and one["action"] == "E")
    assert {item["valueString"] for item in search["entity"][0]["detail"]} == {"family", "_count", "other"}
    assert any(one["agent"][0]["name"] == "unknown" and one["outcome"] == "4" for one in events)
    assert any(STUDY_A in str(one.get("entity")) for one in events)
    for path in clinic.directory.glob("audit*/*"):
        assert b"Unspeakable" not in path.read_bytes()
    assert b"Unspeakable" not in (clinic.directory / "audit.db").read_bytes()
    mine = clinic.get("watcher", f"/fhir/AuditEvent?patient=Patient/{clinic.ours}&agent-name=observations").json()
    assert mine["entry"]
    one = clinic.get("watcher", f"/fhir/AuditEvent/{read['id']}")
    assert one.json() == read
    for who in ("everything", "cohort", "old"):
        assert clinic.get(who, "/fhir/AuditEvent").status_code == 403
    assert clinic.site.get("/fhir/AuditEvent", auth=("ana", "correct horse")).status_code == 200


def test_without_a_record_nothing_is_told(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = clinic.site.app.state.trail
    trail.flush()
    monkeypatch.setattr(trail, "_journals", clinic.directory / "store.db")  # a file: no journal can be opened in it
    answer = clinic.get("everything", "/fhir/Patient")
    assert answer.status_code == 503
    assert "Ours" not in answer.text
