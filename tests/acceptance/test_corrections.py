"""People correct what scanners and hands got wrong: wrong patient, wrong content, a study that must not be there. Nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from gateway.workbench.ae_address import AEAddress
from gateway.workbench.scu import send
from tests import builders
from tests.conftest import ROOT, data_directory
from tests.harness import snapshot
from tests.harness.account import settle
from tests.harness.chaos import Installation, clean_environment
from tests.harness.snapshot import Resource, Snapshot

pytestmark = pytest.mark.timeout(300)

VISION_STUDY = "1.2.840.113619.6.95.31.0.3.4.1.4400.13.8620675"
BY = ("--by", "Invented Physicist")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    settings = {"gather": {"quiet_secs": 1, "quiet_cap_secs": 1}}  # no longer waits between versions
    with Installation(tmp_path_factory.mktemp("corrections"), settings=settings) as installation:
        yield installation


class Bench:
    """One study of one patient in a running gateway, and what can be done to it."""

    def __init__(self, installation: Installation, directory: Path, name: str) -> None:
        self.installation = installation
        self.directory = directory
        self.study = builders.uid(f"corrections/{name}")
        self.patient = f"WRONG-{name}"

    def slices(self, count: int, *, start: int = 0, **overrides: Any) -> list[Path]:
        return [
            builders.write(
                builders.pet(
                    **{
                        "StudyInstanceUID": self.study,
                        "SeriesInstanceUID": f"{self.study}.1",
                        "SOPInstanceUID": f"{self.study}.1.{number}",
                        "InstanceNumber": str(number),
                        "PatientID": self.patient,
                        **overrides,
                    }
                ),
                self.directory / f"{len(overrides)}-{number}.dcm",
            )
            for number in range(start, start + count)
        ]

    def push(self, files: list[Path]) -> None:
        address = self.installation.address
        assert address is not None
        report = send(files, AEAddress(ae_title=address.ae_title, host=address.host, port=address.port))
        assert report.ok, report.failures
        self.settle()

    def settle(self) -> None:
        assert settle(self.installation.data) == []

    def decide(self, *words: str) -> subprocess.CompletedProcess[str]:
        return study(self.installation, words[0], self.study, *words[1:])

    def of(self, kind: str, everything: Snapshot | None = None) -> list[Resource]:
        """Resources of one type that speak of this study."""
        everything = everything or snapshot.fetch(self.installation.fhir_url)
        reference = next(key for key, item in everything.items() if _is_study(item, self.study))
        if kind == "ImagingStudy":
            return [everything[reference]]
        facts = {key for key, item in everything.items() if _refers(item, reference)} | {reference}
        facts |= {key for key, item in everything.items() if any(_refers(item, fact) for fact in facts)}
        return [everything[key] for key in sorted(facts) if key.startswith(f"{kind}/")]

    def statuses(self, kind: str) -> dict[str, str]:
        """Patient id -> status, for facts of which each patient has one."""
        everything = snapshot.fetch(self.installation.fhir_url)
        return {self.patient_of(item, everything): item["status"] for item in self.of(kind, everything)}

    def patient_of(self, resource: Resource, everything: Snapshot | None = None) -> str:
        patients = everything or snapshot.fetch(self.installation.fhir_url)
        return str(patients[resource["subject"]["reference"]]["identifier"][0]["value"])

    def reasons(self) -> set[str]:
        """What the decisions' Provenance gives as reason, with who decided."""
        told = [item for item in self.of("Provenance") if "reason" in item]
        return {f"{item['agent'][0]['who']['display']}: {item['reason'][0]['text']}" for item in told}


def _is_study(resource: Resource, uid: str) -> bool:
    return bool(resource["resourceType"] == "ImagingStudy" and resource["identifier"][0]["value"] == f"urn:oid:{uid}")


def _refers(resource: Resource, reference: str) -> bool:
    return f'"{reference}"' in json.dumps(resource, default=str)


def study(installation: Installation, verb: str, uid: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", "study", verb, uid, *words, "--config", str(installation.config)]
    return subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False, timeout=60)


def versions(installation: Installation) -> list[tuple[str, int]]:
    """Every resource of the store with its number of versions."""
    return _ask(installation.data / "store.db", "SELECT type || '/' || id, version FROM res ORDER BY 1")


def contents(installation: Installation, study_uid: str) -> list[tuple[str, str, str]]:
    """State, digest and reason of every content of a study, in order of arrival."""
    question = """SELECT i.state, hex(i.digest), COALESCE(i.reason, '') FROM instance i JOIN series s ON s.id = i.series_id
    WHERE s.study_uid = ? ORDER BY i.id"""
    return _ask(installation.data / "ledger.db", question, study_uid)


def wait_compared(installation: Installation) -> None:
    """Wait until every other content of a known object has been compared."""
    deadline = time.monotonic() + 30
    while _ask(installation.data / "ledger.db", "SELECT 1 FROM instance WHERE held_for = 'comparison'"):
        assert time.monotonic() < deadline, "contents were not compared in time"
        time.sleep(0.1)


def _ask(path: Path, question: str, *values: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(question, values).fetchall()


def test_a_study_under_the_wrong_patient_is_moved_and_its_facts_follow(running: Installation, tmp_path: Path) -> None:
    bench = Bench(running, tmp_path, "moved")
    bench.push(bench.slices(3))
    assert bench.statuses("MedicationAdministration") == {"WRONG-moved": "completed"}
    (before,) = bench.of("ImagingStudy")

    done = bench.decide("reassign", "--to", "RIGHT-moved", "--reason", "scanned under the neighbour's order", *BY)
    assert done.returncode == 0, done.stderr
    bench.settle()

    (after,) = bench.of("ImagingStudy")
    assert after["id"] == before["id"]
    assert (bench.patient_of(after), after["status"]) == ("RIGHT-moved", "available")
    moved = {"WRONG-moved": "entered-in-error", "RIGHT-moved": "completed"}
    assert bench.statuses("MedicationAdministration") == moved
    assert bench.statuses("Observation") == moved | {"RIGHT-moved": "preliminary"}
    assert bench.reasons() == {"Invented Physicist: scanned under the neighbour's order"}
    patient = snapshot.fetch(running.fhir_url)[after["subject"]["reference"]]
    assert "name" not in patient  # the headers name somebody else
    assert "birthDate" not in patient

    settled = versions(running)
    again = bench.decide("reassign", "--to", "RIGHT-moved", "--reason", "once more", *BY)
    assert (again.returncode, again.stderr.strip()) == (1, "It belongs to that patient already; nothing was changed.")
    bench.push(bench.slices(3))
    assert versions(running) == settled

    bench.push(bench.slices(1, start=3))  # a late slice, still with the wrong patient in its header
    (grown,) = bench.of("ImagingStudy")
    assert (bench.patient_of(grown), grown["numberOfInstances"]) == ("RIGHT-moved", 4)
    assert bench.statuses("MedicationAdministration") == moved
    assert "held: nothing" in bench.decide("show").stdout


def test_a_withdrawn_study_is_cancelled_and_comes_back_when_that_is_undone(running: Installation, tmp_path: Path) -> None:
    bench = Bench(running, tmp_path, "withdrawn")
    bench.push(bench.slices(2))
    (published,) = bench.of("ImagingStudy")
    (given,) = bench.of("MedicationAdministration")

    assert bench.decide("withdraw", "--reason", "a phantom, no patient", *BY).returncode == 0
    bench.settle()
    assert [item["status"] for item in bench.of("ImagingStudy")] == ["cancelled"]
    assert [item["status"] for item in bench.of("MedicationAdministration")] == ["entered-in-error"]
    assert {item["status"] for item in bench.of("Observation")} == {"entered-in-error"}
    assert bench.reasons() == {"Invented Physicist: a phantom, no patient"}

    settled = versions(running)
    assert bench.decide("withdraw", "--reason", "again", *BY).returncode == 1
    bench.push(bench.slices(3))  # a late slice does not bring it back
    assert [item["status"] for item in bench.of("ImagingStudy")] == ["cancelled"]
    assert [item["status"] for item in bench.of("MedicationAdministration")] == ["entered-in-error"]
    assert {name for name, _ in versions(running)} == {name for name, _ in settled}

    assert bench.decide("undo", "--reason", "it was a patient after all", *BY).returncode == 0
    bench.settle()
    assert bench.of("ImagingStudy") == [{**published, "numberOfInstances": 3, "series": bench.of("ImagingStudy")[0]["series"]}]
    assert bench.of("MedicationAdministration") == [given]  # the same id, active again, nothing left of the error
    assert "Invented Physicist: it was a patient after all" in bench.reasons()
    assert bench.decide("undo", "--reason", "again", *BY).returncode == 1


def test_two_patients_under_one_study_until_a_person_decides(running: Installation, tmp_path: Path) -> None:
    bench = Bench(running, tmp_path, "two")
    bench.push(bench.slices(1, start=9, PatientID="OTHER-two"))
    assert bench.statuses("MedicationAdministration") == {"OTHER-two": "completed"}
    bench.push(bench.slices(3))  # the larger group comes later: what was published of the smaller one is taken back
    assert [state for state, _, _ in contents(running, bench.study)] == ["conflict"] + ["normalised"] * 3
    one_in_force = {"OTHER-two": "entered-in-error", "WRONG-two": "completed"}
    assert bench.statuses("MedicationAdministration") == one_in_force
    shown = bench.decide("show").stdout
    assert "OTHER-two  1 object, 1 held" in shown
    assert "more than one patient id" in shown

    assert bench.decide("accept", "--reason", "the same person, id typed by hand", *BY).returncode == 0
    bench.settle()
    (whole,) = bench.of("ImagingStudy")
    assert (bench.patient_of(whole), whole["numberOfInstances"]) == ("WRONG-two", 4)
    assert bench.statuses("MedicationAdministration") == one_in_force
    done = bench.decide("accept", "--reason", "again", *BY)
    assert (done.returncode, done.stderr.strip()) == (1, "Nothing of this study is held for its patient id; nothing was changed.")
    settled = versions(running)
    bench.push(bench.slices(3) + bench.slices(1, start=9, PatientID="OTHER-two"))
    assert versions(running) == settled

    assert bench.decide("undo", "--reason", "two people after all", *BY).returncode == 0
    bench.settle()
    (less,) = bench.of("ImagingStudy")
    assert less["numberOfInstances"] == 3
    assert [state for state, _, _ in contents(running, bench.study)] == ["conflict"] + ["normalised"] * 3
    assert bench.statuses("MedicationAdministration") == one_in_force


def test_another_encoding_is_a_variant_and_another_content_waits_for_a_person(running: Installation, tmp_path: Path) -> None:
    bench = Bench(running, tmp_path, "content")
    bench.push(bench.slices(2))
    settled = versions(running)
    (first, *_) = bench.slices(1)
    implicit = builders.write(_dataset(first), tmp_path / "implicit.dcm", transfer_syntax_uid=ImplicitVRLittleEndian)
    bench.push([implicit])
    wait_compared(running)
    assert [state for state, _, _ in contents(running, bench.study)] == ["normalised", "normalised", "variant"]
    assert "held: nothing" in bench.decide("show").stdout
    assert versions(running) == settled

    changed: dict[str, Any] = {"RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose": "400000000"}
    bench.push(bench.slices(1, **changed))
    wait_compared(running)
    *_, (state, digest, reason) = contents(running, bench.study)
    assert state == "conflict"
    assert reason.endswith("These differ: RadiopharmaceuticalInformationSequence. A person decides.")
    assert versions(running) == settled
    assert "objects with several contents" in bench.decide("show").stdout

    # The other slice says 350 MBq too: withdraw its word by replacing it as well.
    bench.push(bench.slices(1, start=1, **changed))
    wait_compared(running)
    second = contents(running, bench.study)[-1][1]
    for chosen in (digest, second):
        done = bench.decide("accept", "--digest", chosen.lower()[:12], "--reason", "the dose was corrected at the scanner", *BY)
        assert done.returncode == 0, done.stderr
    bench.settle()
    (given,) = bench.of("MedicationAdministration")
    assert (given["status"], given["dosage"]["dose"]["value"]) == ("completed", 400)
    assert [item["numberOfInstances"] for item in bench.of("ImagingStudy")] == [2]
    again = bench.decide("accept", "--digest", digest.lower(), "--reason", "again", *BY)
    assert (again.returncode, again.stderr.strip()) == (1, "This content is in force already; nothing was changed.")
    settled = versions(running)
    bench.push([*bench.slices(2), implicit, *bench.slices(2, **changed)])  # everything again changes nothing
    wait_compared(running)
    assert versions(running) == settled
    for _ in range(2):
        assert bench.decide("undo", "--reason", "the first was right", *BY).returncode == 0
    bench.settle()
    assert [item["dosage"]["dose"]["value"] for item in bench.of("MedicationAdministration")] == [350]


def test_a_kill_between_decision_and_sealing_leaves_nothing_half(tmp_path: Path) -> None:
    # Short leases: what a killed worker held is soon taken over.
    settings = {"gather": {"quiet_secs": 1, "quiet_cap_secs": 1}, "work": {"lease_secs": 3}}
    with Installation(tmp_path / "gateway", settings=settings) as installation:
        bench = Bench(installation, tmp_path, "killed")
        bench.push(bench.slices(2))
        installation.kill()
        assert bench.decide("reassign", "--to", "RIGHT-killed", "--reason", "wrong order", *BY).returncode == 0
        installation.start()
        installation.kill()  # again, while it takes the decision up
        installation.start()
        bench.settle()
        assert bench.statuses("MedicationAdministration") == {"WRONG-killed": "entered-in-error", "RIGHT-killed": "completed"}
        assert [bench.patient_of(item) for item in bench.of("ImagingStudy")] == ["RIGHT-killed"]
        assert bench.reasons() == {"Invented Physicist: wrong order"}


@pytest.mark.needs("data")
def test_the_dose_report_of_the_vision_study_is_held_until_it_is_accepted(running: Installation) -> None:
    address = running.address
    assert address is not None
    report = data_directory() / "rrdsr" / "NM-RRDSR-Siemens.dcm"
    target = AEAddress(ae_title=address.ae_title, host=address.host, port=address.port)
    assert send([data_directory() / "pet" / "siemens-vision600-fdg-study", report], target).ok
    assert settle(running.data) == []
    assert [state for state, _, _ in contents(running, VISION_STUDY)].count("conflict") == 1
    assert "REMOVED1  1 object, 1 held" in study(running, "show", VISION_STUDY).stdout

    done = study(running, "accept", VISION_STUDY, "--reason", "one person, two ways of removing the id", *BY)
    assert done.returncode == 0, done.stderr
    assert settle(running.data) == []
    assert {state for state, _, _ in contents(running, VISION_STUDY)} == {"normalised"}
    shown = study(running, "show", VISION_STUDY).stdout
    assert "held: nothing" in shown
    everything = snapshot.fetch(running.fhir_url)
    (found,) = [item for item in everything.values() if _is_study(item, VISION_STUDY)]
    assert found["numberOfInstances"] == 5
    given = [
        item
        for item in everything.values()
        if item["resourceType"] == "MedicationAdministration" and item["subject"] == found["subject"]
    ]
    active = [item for item in given if item["status"] == "completed"]
    assert [item["dosage"]["dose"]["value"] for item in active] == [394]
    if any("RadiopharmaceuticalRadiationDoseSRStorage" in file.read_text() for file in (ROOT / "mappings").glob("*.yaml")):
        # The report tells of the same injection eight minutes earlier: published, and flagged.
        assert [item["effectiveDateTime"] for item in active] == ["2022-02-24T10:40:30+01:00"]
        assert "8 min" in active[0]["note"][0]["text"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["show", "2.25.404"], 1, "No study of this Study Instance UID is known."),
        (["withdraw", "2.25.404", "--reason", "x"], 1, "No study of this Study Instance UID is known."),
        (["accept", "2.25.404"], 2, "--reason"),
        (["reassign", "2.25.404", "--reason", "x"], 2, "--to"),
        (["withdraw", "2.25.404", "--reason", " "], 2, "must not be empty"),
    ],
)
def test_a_mistake_is_told_clearly(running: Installation, words: list[str], code: int, told: str) -> None:
    done = study(running, words[0], words[1], *words[2:])
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def _dataset(path: Path) -> Any:
    return pydicom.dcmread(path)
