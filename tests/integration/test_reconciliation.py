"""One injection, one fact: real mappings, a real ledger, objects in any order, publishing in between."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pydicom
import pytest

from gateway.config import Settings
from gateway.dicom.reading import read_header
from gateway.errors import GatewayError
from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.gather.study import Member, gather_study
from gateway.line import Line
from gateway.mapping.language import load
from gateway.model import Administration, Arrival, Door, Dossier, Instance, JsonObject, Received, Record, SharedFields
from gateway.normalise.record import SiteContext
from gateway.pipeline import seal
from gateway.r4.bundles import REPLACED_BY_EXTENSION
from gateway.spool import bodies
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.stages import Normalised
from gateway.spool.timers import QuietPolicy
from gateway.understanding import Understanding
from gateway.workbench.sample import generate_cycle
from tests.conftest import ROOT, data_directory

NOW = 1_700_000_000.0
RECORDED = "2026-03-02T12:00:00.000+00:00"


@pytest.fixture(scope="module")
def understanding() -> Understanding:
    site = Settings().site
    mappings = load(ROOT / "mappings")
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=site.zone),
        patients=PatientKeys(system=site.patient_id_system),
        renderer=Renderer(mappings, Identity(b"a key of thirty-two bytes, or so"), accession_system=site.accession_system),
    )


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory, understanding: Understanding) -> list[Record]:
    """The dose report first, then the four SPECT studies."""
    studies = generate_cycle(tmp_path_factory.mktemp("cycle"), slices=4)
    return [understanding.read(path) for study in studies for path in study.files]


def gathered(understanding: Understanding, records: Sequence[Record], patient_key: str = "sys|P1") -> Dossier:
    """As if a person had accepted that all of them are of one patient."""
    return understanding.dossier(patient_key, [record.shared for record in records], {})


def test_a_therapy_cycle_as_scanners_send_it_is_one_administration_in_all_120_orders(
    understanding: Understanding, cycle: list[Record]
) -> None:
    assert len({str(record.shared.study["uid"]) for record in cycle}) == 5
    expected = gathered(understanding, cycle)
    (fact,) = expected.administrations
    assert fact.fields["activity"] == {"value": Decimal("7386.4"), "unit": "MBq"}
    assert len(fact.study_uids) == 5
    assert "6 min later, with 0.2 % more activity" in fact.issues[0].reason
    orders = [gathered(understanding, order) for order in itertools.permutations(cycle)]
    assert len(orders) == 120
    assert all(order == expected for order in orders)


def test_cameras_that_write_no_date_of_injection_lean_on_the_report(tmp_path: Path, understanding: Understanding) -> None:
    """NM Image has an injection time but no date (PS3.3 C.8.4.10): published as they come, the cycle still ends as one."""
    records = []
    for path in (path for study in generate_cycle(tmp_path / "cycle", slices=2) for path in study.files):
        dataset = pydicom.dcmread(path)
        if dataset.Modality == "NM":
            del dataset.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime
            dataset.save_as(path)
        records.append(understanding.read(path))
    hospital = Hospital(tmp_path, understanding)
    for record in records[1:]:
        hospital.take(record)
        hospital.publish()
    assert len(hospital.administrations()) == 4  # nobody knows better yet
    hospital.take(records[0])
    hospital.publish()
    (given,) = hospital.administrations()
    assert given["effectivePeriod"]["start"] == "2026-03-03T09:30:00+01:00"
    assert hospital.states() == {"active": 1, "entered-in-error": 3}
    survivor = {"reference": f"MedicationAdministration/{given['id']}"}
    assert [links(item) for item in hospital.administrations(in_error=True)] == [[survivor]] * 3
    hospital.ledger.close()


class Hospital:
    """A ledger into which objects come one by one, and that publishes whenever it is asked to."""

    def __init__(self, directory: Path, understanding: Understanding) -> None:
        self.ledger = Ledger(f"sqlite:///{directory / 'ledger.db'}", QuietPolicy(quiet_secs=0, cap_secs=0))
        self.ledger.migrate()
        self.line = Line(understanding=understanding, files=SpoolFiles(directory), ledger=self.ledger, targets=())
        self.now = NOW

    def take(self, record: Record) -> None:
        """One object arrives and is mapped."""
        uid = str(record.instance["uid"])
        instance = Instance(
            digest=hashlib.sha256(uid.encode()).hexdigest(),
            day="2023-11-14",
            size_bytes=100,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            sop_class_uid=str(record.instance["sop_class"]),
            sop_instance_uid=uid,
            study_instance_uid=str(record.shared.study["uid"]),
            series_instance_uid=str(record.shared.series["uid"]),
        )
        at = dt.datetime.fromtimestamp(self.now, dt.UTC)
        arrival = Arrival(door=Door.DIMSE, calling_ae="A", called_ae="B", peer="127.0.0.1", received_at=at)
        self.ledger.intake.record_arrivals([Received(arrival=arrival, instance=instance, status=0)])
        key = self.line.understanding.patients.of(record.shared)
        tickets = self.ledger.stages.lease(limit=10, now=self.now, lease_secs=60)
        self.ledger.stages.advance([Normalised(ticket=t, record=record, patient_key=key) for t in tickets], now=self.now)

    def publish(self) -> int:
        """Seal all that is quiet. Returns how many new versions that made."""
        self.now += 1
        made = 0
        while ticket := self.ledger.subjects.lease_due(now=self.now, lease_secs=60):
            made += seal(ticket, self.line, now=self.now) is not None
        return made

    def administrations(self, *, in_error: bool = False) -> list[JsonObject]:
        """What the last version of the dossier says was given, or what it takes back."""
        told = [item for item in self.resources() if item["resourceType"] == "MedicationAdministration"]
        return [item for item in told if (item["status"] == "entered-in-error") is in_error]

    def resources(self) -> list[JsonObject]:
        """All that the last version of the dossier holds."""
        query = "SELECT bundle FROM subject_version WHERE kind = 'dossier' ORDER BY version DESC LIMIT 1"
        with self.ledger.database.read() as connection:
            body = bodies.unpack(connection.exec_driver_sql(query).scalar_one())
        return [entry["resource"] for entry in body["entry"]]

    def states(self) -> Counter[str]:
        with self.ledger.database.read() as connection:
            return Counter(row[0] for row in connection.exec_driver_sql("SELECT state FROM administration"))


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (1, 2, 3, 4, 0), (4, 0, 3, 1, 2), (2, 1, 0, 4, 3)])
def test_published_after_every_arrival_a_cycle_ends_as_one_active_administration(
    tmp_path: Path, understanding: Understanding, cycle: list[Record], order: tuple[int, ...]
) -> None:
    hospital = Hospital(tmp_path, understanding)
    for number in order:
        hospital.take(cycle[number])
        hospital.publish()
    (given,) = hospital.administrations()
    assert given["dosage"]["dose"]["value"] == Decimal("7386.4")
    assert len(given["supportingInformation"]) == 5
    assert hospital.states()["active"] == 1
    for record in cycle:
        hospital.take(record)
    assert hospital.publish() == 0
    hospital.ledger.close()


def test_two_published_facts_that_prove_to_be_one_stay_one_for_good(
    tmp_path: Path, understanding: Understanding, cycle: list[Record]
) -> None:
    """Headers of one camera with two wordings are two facts until a third header ties them by event UID."""
    first, second, third = (cycle[number] for number in (1, 2, 3))
    second = with_injection(second, event_uid="2.25.1", activity={"value": 7000, "unit": "MBq"})
    third = with_injection(third, event_uid="2.25.1")
    hospital = Hospital(tmp_path, understanding)
    for record in (first, second):
        hospital.take(record)
        hospital.publish()
    assert hospital.states() == {"active": 2}
    before = {item["id"] for item in hospital.administrations()}
    hospital.take(third)
    hospital.publish()
    (given,) = hospital.administrations()
    assert given["id"] in before
    (lost,) = hospital.administrations(in_error=True)
    assert {lost["id"], given["id"]} == before
    assert links(lost) == [{"reference": f"MedicationAdministration/{given['id']}"}]
    assert hospital.states() == {"active": 1, "entered-in-error": 1}
    key = understanding.patients.of(first.shared)
    replaced = hospital.ledger.subjects.facts.replaced(key)
    assert set(hospital.ledger.subjects.facts.aliases(key).values()) == set(replaced.values())
    for record in (third, first, second):
        hospital.take(record)
    assert hospital.publish() == 0
    assert hospital.ledger.subjects.facts.replaced(key) == replaced
    hospital.ledger.close()


def links(lost: JsonObject) -> list[JsonObject]:
    """What a fact that was given up says survives it."""
    return [item["valueReference"] for item in lost.get("extension", ()) if item["url"] == REPLACED_BY_EXTENSION]


def with_injection(record: Record, **changes: object) -> Record:
    (told,) = record.shared.administrations
    content = f"{record.shared.key}{changes}"
    shared: SharedFields = dataclasses.replace(record.shared, key=content, administrations=({**told, **changes},))
    return dataclasses.replace(record, shared=shared)


@pytest.mark.needs("data")
def test_the_real_siemens_study_is_one_administration_with_its_eight_minutes_flagged(understanding: Understanding) -> None:
    """Its report says 10:40:30 and another event UID, its images 10:48:30; accepted as one patient they are one injection."""
    images = sorted((data_directory() / "pet" / "siemens-vision600-fdg-study").glob("*.dcm"))
    records = [understanding.read(path) for path in (*images, data_directory() / "rrdsr" / "NM-RRDSR-Siemens.dcm")]
    assert len({understanding.patients.of(record.shared) for record in records}) == 2
    found = gathered(understanding, records)
    (fact,) = found.administrations
    assert_vision(fact)
    assert all(gathered(understanding, order) == found for order in (records[::-1], records[3:] + records[:3]))
    bundle = understanding.renderer.dossier(found, recorded=RECORDED)
    (given,) = (e["resource"] for e in bundle.body["entry"] if e["resource"]["resourceType"] == "MedicationAdministration")
    assert [item["value"] for item in given["identifier"][:2]] == [f"urn:oid:{uid}" for uid in fact.event_uids]
    assert given["note"][0]["text"] == fact.issues[0].reason


def assert_vision(fact: Administration) -> None:
    assert fact.fields["activity"] == {"value": 394, "unit": "MBq"}
    assert fact.fields["started_at"] == "2022-02-24T10:40:30+01:00"
    assert len(fact.event_uids) == 2
    assert "8 min later, with the same activity" in fact.issues[0].reason


@pytest.mark.needs("data")
def test_every_real_object_lands_in_exactly_one_valid_imaging_study(understanding: Understanding) -> None:
    folders = ("pet", "nm", "ct", "rrdsr", "rdsr", "sr", "rt", "seg", "sc")
    members: dict[str, list[Member]] = {}
    refused = []
    for path in (path for folder in folders for path in sorted((data_directory() / folder).rglob("*.dcm"))):
        try:
            header = read_header(path)
            record = understanding.understand(header)
        except GatewayError:
            refused.append(path.name)
            continue
        key = understanding.patients.of(record.shared)
        group = members.setdefault(str(record.shared.study["uid"]), [])
        group.append(Member(member_id=len(group), patient_key=key, shared=record.shared, instance=record.instance))
    assert refused == ["color-palette-pet.dcm"]  # it has no study
    published: Counter[str] = Counter()
    modalities: set[str] = set()
    for uid, group in members.items():
        study = gather_study(uid, group)
        bundle = understanding.study_bundle(study, [member.shared for member in group], recorded=RECORDED)
        (resource,) = (e["resource"] for e in bundle.body["entry"] if e["resource"]["resourceType"] == "ImagingStudy")
        published.update(instance["uid"] for series in resource["series"] for instance in series["instance"])
        published.update(str(member.instance["uid"]) for member in group if member.member_id in study.hold)
        modalities |= {coding["code"] for coding in resource["modality"]}
    assert published == Counter(str(member.instance["uid"]) for group in members.values() for member in group)
    assert {"PT", "NM", "CT", "SR", "KO", "SEG", "RTDOSE", "RTPLAN", "RTSTRUCT", "DOC", "OT", "RWV"} <= modalities
