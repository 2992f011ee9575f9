"""The seam for a feed that hides who the patient is, with a policy as a research feed might bring it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.dicom.reading import header_of
from gateway.fhir.identity import Identity
from gateway.fhir.policy import CLINICAL, POLICIES
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.gather.study import Member, gather_study
from gateway.mapping.language import load
from gateway.model import JsonObject
from gateway.normalise.record import SiteContext
from gateway.r4 import canonical
from gateway.r4.bundles import resources_of
from gateway.r4.validate import validate
from gateway.spool.standing import Decision, DecisionKind
from gateway.understanding import Past, Understanding
from tests import builders

MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
RECORDED = "2026-03-02T12:00:00.000+00:00"
#: What of the patient stands in the headers below, in every form in which it could leave.
GIVEN_AWAY = ("NAME-CANARY", "FAMILY-CANARY", "ID-CANARY", "1970-01-02", "ACCESSION-CANARY", "DESCRIPTION-CANARY")


class Pseudonymised:
    """Ids under another key, a number for a name, no birth date, no free text, no identifiers but our own."""

    name = "stub"

    def identity(self, identity: Identity) -> Identity:
        return Identity(hashlib.sha256(b"another feed" + identity.resource_id("feed", "stub").encode()).digest())

    def patient(self, patient: JsonObject) -> JsonObject:
        number = hashlib.sha256(str(patient["key"]).encode()).hexdigest()[:8]
        return {"key": patient["key"], "id_system": "urn:stub:feed", "id": number, "gender": patient.get("gender")}

    def release(self, resource: JsonObject) -> JsonObject | None:
        if "reason" in resource:  # a decision's reason is free text
            return None
        # an accession number names a person in the hospital's own systems
        kept = {name: value for name, value in resource.items() if name not in ("description", "basedOn")}
        if resource["resourceType"] == "ImagingStudy":
            kept["identifier"] = [item for item in kept["identifier"] if item["system"] == "urn:dicom:uid"]
        return kept


@pytest.fixture(scope="module")
def clinical() -> Understanding:
    site = Settings().site
    mappings = load(MAPPINGS)
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=site.zone),
        patients=PatientKeys(system=site.patient_id_system),
        renderer=Renderer(mappings, Identity(b"a key of 32 bytes for these tests"), accession_system=site.accession_system),
    )


def bundles(understanding: Understanding) -> list[JsonObject]:
    dataset = builders.pet(
        PatientName="FAMILY-CANARY^NAME-CANARY",
        PatientID="ID-CANARY",
        AccessionNumber="ACCESSION-CANARY",
        StudyDescription="DESCRIPTION-CANARY",
    )
    record = understanding.understand(header_of(builders.part10(dataset)))
    key = understanding.patients.of(record.shared)
    uid = str(record.shared.study["uid"])
    study = gather_study(uid, [Member(member_id=1, patient_key=key, shared=record.shared, instance=record.instance)])
    decided = Decision(
        id=1, study_uid=uid, kind=DecisionKind.WITHDRAW, reason="NAME-CANARY", decided_by="FAMILY-CANARY", decided_at=1.7e9
    )
    past = Past(decisions=[decided])
    dossier = understanding.dossier(key, [record.shared], {})
    facts = understanding.dossier_bundle(dossier, [record.shared], recorded=RECORDED, past=past)
    assert facts is not None
    return [understanding.study_bundle(study, [record.shared], recorded=RECORDED, past=past).body, facts.body]


def test_a_feed_with_its_own_policy_holds_no_patient_identifier_in_any_byte(clinical: Understanding) -> None:
    written = b"".join(canonical.encode(bundle) for bundle in bundles(clinical.feed(Pseudonymised())))
    for canary in GIVEN_AWAY:
        assert canary.encode() not in written
    open_written = b"".join(canonical.encode(bundle) for bundle in bundles(clinical))
    for canary in GIVEN_AWAY:
        assert canary.encode() in open_written  # the canaries are really there to be hidden


def test_a_feed_has_ids_of_its_own_and_the_same_facts(clinical: Understanding) -> None:
    ours = [item for bundle in bundles(clinical) for item in resources_of(bundle) if "reason" not in item]
    theirs = [item for bundle in bundles(clinical.feed(Pseudonymised())) for item in resources_of(bundle)]
    assert [item["resourceType"] for item in ours] == [item["resourceType"] for item in theirs]
    assert {item["id"] for item in ours}.isdisjoint(item["id"] for item in theirs)
    for item in theirs:
        assert validate(item) == []
    doses = [
        [item["dosage"]["dose"]["value"] for item in side if item["resourceType"] == "MedicationAdministration"]
        for side in (ours, theirs)
    ]
    assert doses[0] == doses[1] == [350]


def test_a_policy_gives_the_same_bytes_each_time(clinical: Understanding) -> None:
    feed = clinical.feed(Pseudonymised())
    assert [canonical.encode(item) for item in bundles(feed)] == [canonical.encode(item) for item in bundles(feed)]


def test_the_clinical_policy_is_the_one_that_is_shipped_and_changes_nothing(clinical: Understanding) -> None:
    assert {"clinical": CLINICAL} == POLICIES
    assert Settings().identity.policy == "clinical"
    assert bundles(clinical.feed(CLINICAL)) == bundles(clinical)
