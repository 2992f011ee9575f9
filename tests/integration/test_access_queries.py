"""Scopes with a query: what the search does not find is not there, on every road to it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.integration.test_access import EC, STUDY_A, STUDY_B, Clinic, export

#: Of the observations of the clinic these are seen, of its studies none but those with PET.
QUERY = "_id=own,moved&status=final"
REST = "system/Patient.rs system/Device.rs system/Provenance.rs system/Group.rs"
CLIENTS: dict[str, tuple[str, str | None]] = {
    "some": (f"system/Observation.rs?{QUERY} {REST}", None),
    "some_in_lung": (f"system/Observation.rs?{QUERY} system/Observation.rs?_id=not-own {REST}", "lung"),
    "apart": ("system/Observation.r?_id=own,not-own system/Observation.s?_id=not-own,moved", None),
    "pet": ("system/ImagingStudy.rs?modality=PT system/Patient.r", None),
    "nuclear": ("system/ImagingStudy.rs?modality=NM system/Patient.r", None),
    "women": ("system/ImagingStudy.rs system/Patient.r?gender=female", None),
}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    running = Clinic(tmp_path_factory.mktemp("clinic"), CLIENTS)
    yield running
    running.site.close()


SEEN = {"Observation/own", "Observation/moved"}


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("Observation", SEEN),
        ("Observation?_id=own,not-own", {"Observation/own"}),
        ("Observation?_id=not-own", set()),
        ("Observation?status:not=cancelled&_sort=-_lastUpdated", SEEN),
        ("Patient/{ours}/Observation", SEEN),
        ("Patient/{theirs}/Observation", set()),
        ("Patient?_has:Observation:subject:_id=not-own", set()),
        ("Patient?_has:Observation:subject:_id=own", {"Patient/{ours}"}),
        ("Provenance?target:Observation.code:text=note", {"Provenance/p-own", "Provenance/p-both"}),
        ("Provenance?target:Observation._id=not-own", set()),
        ("Patient?_id={theirs}&_revinclude=Observation:subject", {"Patient/{theirs}"}),
        ("Provenance?_id=p-theirs&_include=Provenance:target", {"Provenance/p-theirs"}),
        ("Device?_id=shared&_revinclude=Observation:device", {"Device/shared", *SEEN}),
    ],
)
def test_a_search_finds_what_the_query_finds(clinic: Clinic, path: str, seen: set[str]) -> None:
    names = {"ours": clinic.ours, "theirs": clinic.theirs}
    assert clinic.found("some", "/fhir/" + path.format(**names)) == {one.format(**names) for one in seen}


def test_counts_tell_nothing_more(clinic: Clinic) -> None:
    assert clinic.get("some", "/fhir/Observation?_summary=count").json()["total"] == 2
    assert clinic.get("everything", "/fhir/Observation?_id=own,moved,not-own&_summary=count").json()["total"] == 3


@pytest.mark.parametrize(
    "path",
    [
        "Observation/not-own",
        "Observation/not-own/_history",
        "Observation/not-own/_history/1",
        "Observation/moved/_history/1",
        "Observation/hidden",
        "Observation/gone",
    ],
)
def test_what_the_query_does_not_find_is_not_there(clinic: Clinic, path: str) -> None:
    answer = clinic.get("some", f"/fhir/{path}")
    assert answer.status_code == 404, answer.text
    assert "Secret" not in answer.text


def test_reading_everything_about_a_patient_and_the_history_are_narrow_too(clinic: Clinic) -> None:
    whole = clinic.found("some", f"/fhir/Patient/{clinic.ours}/$everything")
    assert {one for one in whole if one.startswith("Observation/")} == SEEN
    versions = clinic.get("some", "/fhir/Observation/_history").json()["entry"]
    assert sorted(entry["fullUrl"].rpartition("/")[2] for entry in versions) == ["moved", "own"]
    assert clinic.get("some", "/fhir/Observation/own").status_code == 200


def test_queries_add_up_and_hold_within_a_group(clinic: Clinic) -> None:
    assert clinic.found("some_in_lung", "/fhir/Observation") == SEEN  # the second query is about a patient of others
    assert clinic.found("apart", "/fhir/Observation") == {"Observation/not-own"}  # what both letters let through
    assert clinic.get("apart", "/fhir/Observation/own").status_code == 404


def test_exports_are_narrow_and_stay_so(clinic: Clinic) -> None:
    for path in ("/fhir/$export", "/fhir/$export?_type=Observation&_since=2000-01-01T00:00:00Z"):
        manifest = export(clinic, "some", path)
        lines = [clinic.get("some", item["url"].removeprefix(clinic.site.url)).text for item in manifest["output"]]
        exported = {name for text in lines for name in re.findall(r'"resourceType":"Observation","id":"([^"]+)"', text)}
        assert exported == {"own", "moved"}
        assert "Secret note" not in "".join(lines)
        assert manifest.get("deleted", []) == []
    url = manifest["output"][0]["url"].removeprefix(clinic.site.url)
    assert clinic.get("everything", url).status_code == 404


def test_images_follow_the_query_on_their_study(clinic: Clinic) -> None:
    assert len(clinic.get("pet", "/dicom-web/studies").json()) == 2
    assert clinic.get("pet", f"/dicom-web/studies/{STUDY_A}").status_code == 200
    assert clinic.get("nuclear", "/dicom-web/studies").json() == []
    assert clinic.get("nuclear", f"/dicom-web/studies/{STUDY_B}/metadata").status_code == 404
    assert clinic.get("women", f"/dicom-web/studies/{STUDY_A}").status_code == 403


def test_a_token_may_ask_for_less_than_is_registered(clinic: Clinic) -> None:
    asked = "system/Observation.rs?_id=own system/Device.r"
    answer = clinic.ask(clinic.assertion("signer", EC, "ES384"), asked)
    assert answer.json()["scope"] == asked
    assert clinic.found(answer.json()["access_token"], "/fhir/Observation") == {"Observation/own"}


def test_nobody_is_told_what_the_queries_of_others_ask(clinic: Clinic) -> None:
    told = clinic.site.get("/fhir/.well-known/smart-configuration").json()["scopes_supported"]
    assert "system/Device.r" in told  # of a client whose other scope has a query
    assert not any("?" in scope for scope in told)
