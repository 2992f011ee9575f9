"""Tables of dosimetry with a real ledger: bound to what objects tell, in any order; assigned, corrected and withdrawn by people."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.errors import Rejected
from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.mapping.language import load
from gateway.model import JsonObject, Record
from gateway.normalise.record import SiteContext
from gateway.spool import bodies
from gateway.spool.decisions import By
from gateway.spool.table_files import TableFiles
from gateway.table_door import TableDoor, TableTaken
from gateway.tables.library import load_adapters
from gateway.understanding import Understanding
from gateway.workbench.sample import generate_cycle
from gateway.workbench.tables import assign, choices
from tests.conftest import ROOT
from tests.integration.test_reconciliation import Hospital

HEADER = (
    "PatientID;AdminDateTime;Radiopharmaceutical;AdminActivity_MBq;Cycle;VOI;Side;Mass_g;T_h;A_MBq;TIA_MBqh;TIAC_h;Teff_h;D_Gy;"
    "D_per_A_GyGBq;BED_Gy;EQD2_Gy;AlphaBeta_Gy;Trep_h;Software;Version;ApprovedBy;ApprovedAt\n"
)
LEFT = "SAMPLE-0003;2026-03-03 09:33;177Lu-DOTATATE;7390;1;Kidney;L;310;4;209,8;16302;2,206;51,0;{dose};{per};;;2,5;2,8;SW-X;3.1.0;{by}\n"
KEY = "urn:isobridge:patient-id:ISOBRIDGE-SAMPLE|SAMPLE-0003"


def table(dose: str = "4,47", per: str = "0,605", by: str = ";") -> str:
    return HEADER + LEFT.format(dose=dose, per=per, by=by)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Understanding:
    """The shipped mappings, and the site's own copy of the example adapter: with its issuer, its approver and a date of the export."""
    folder = tmp_path_factory.mktemp("site") / "mappings"
    shutil.copytree(ROOT / "mappings", folder)
    text = (folder / "tables" / "example_lutetium_csv.yaml").read_text()
    text = text.replace("issuer: {column: Issuer}", "issuer: {value: ISOBRIDGE-SAMPLE}")
    text = text.replace("approvers: []", "approvers: [MPE-7]")
    (folder / "sites" / "tables").mkdir()
    (folder / "sites" / "tables" / "example_lutetium_csv.yaml").write_text(
        text.replace("patient: {id: INVENTED-1}", "patient: {}")
    )
    return site_of(folder)


def site_of(folder: Path) -> Understanding:
    settings, mappings = Settings().site, load(folder)
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=settings.zone),
        patients=PatientKeys(system=settings.patient_id_system),
        renderer=Renderer(mappings, Identity(b"a key of thirty-two bytes, or so"), accession_system=settings.accession_system),
        adapters=load_adapters(folder, mappings.codes),
    )


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory, site: Understanding) -> list[Record]:
    """A dose report and four SPECT studies of one therapy cycle."""
    studies = generate_cycle(tmp_path_factory.mktemp("cycle"), slices=2)
    return [site.read(path) for study in studies for path in study.files[:1]]


class Department(Hospital):
    """A hospital that imports tables as well."""

    def __init__(self, directory: Path, site: Understanding) -> None:
        super().__init__(directory, site)
        self.door = TableDoor(self.ledger, TableFiles(directory / "spool"), lambda: site)

    def bring(self, text: str, name: str = "cycle1.csv", adapter: str | None = None) -> TableTaken:
        self.now += 1
        return self.door.take(text.encode("cp1252"), name, door="import", sender="test", now=self.now, adapter=adapter)

    def resources(self) -> list[JsonObject]:
        query = "SELECT bundle FROM subject_version WHERE kind = 'dossier' ORDER BY sealed_at DESC, id DESC LIMIT 1"
        with self.ledger.database.read() as connection:
            row = connection.exec_driver_sql(query).first()
        return [entry["resource"] for entry in bodies.unpack(row[0])["entry"]] if row else []

    def facts(self, kind: str) -> list[JsonObject]:
        """Observations of one kind that come from a table."""
        told = [item for item in self.resources() if item["resourceType"] == "Observation"]
        of_kind = [item for item in told if any(coding["code"] == kind for coding in item["code"]["coding"])]
        return [item for item in of_kind if "device" in item]

    def waiting(self) -> list[str]:
        return [str(part.waits_for) for part in self.ledger.tables.listed()]

    def by(self, reason: str = "as agreed") -> By:
        return By(name="A physicist", reason=reason, at=self.now)


@pytest.fixture
def department(tmp_path: Path, site: Understanding) -> Iterator[Department]:
    made = Department(tmp_path, site)
    yield made
    made.ledger.close()


def said(item: JsonObject) -> tuple[str, Decimal, str]:
    return item["status"], Decimal(item["valueQuantity"]["value"]), item["valueQuantity"]["code"]


@pytest.mark.parametrize("place", range(6))
def test_four_scans_a_report_and_a_table_are_one_administration_and_one_kidney_dose(
    department: Department, cycle: list[Record], place: int
) -> None:
    """Published after each arrival; the table comes first, last, or anywhere between."""
    order = [*cycle[1:], cycle[0]]
    for number in range(6):
        if number == place:
            department.bring(table())
        if number < 5:
            department.take(order[number])
        department.publish()
    (given,) = department.administrations()
    assert given["dosage"]["dose"]["value"] == Decimal("7386.4")
    (dose,) = [item for item in department.facts("organ-absorbed-dose") if item["status"] != "entered-in-error"]
    assert said(dose) == ("preliminary", Decimal("4.47"), "Gy")
    assert dose["partOf"] == [{"reference": f"MedicationAdministration/{given['id']}"}]
    assert [note["text"] for note in dose["note"]] == [
        "The table tells of its administration 3 min later, with the same activity."
    ]
    assert department.waiting() == []
    assert department.ledger.tables.listed(everything=True)[0].bound_to is not None


def test_whatever_the_order_the_last_version_says_the_same(tmp_path: Path, site: Understanding, cycle: list[Record]) -> None:
    said_by_order = set()
    things: list[Record | str] = [cycle[0], cycle[1], "table"]
    for number, order in enumerate(itertools.permutations(things)):
        folder = tmp_path / str(number)
        folder.mkdir()
        hospital = Department(folder, site)
        for thing in order:
            hospital.bring(table()) if isinstance(thing, str) else hospital.take(thing)
        hospital.publish()
        facts = [item for item in hospital.resources() if item["resourceType"] in ("MedicationAdministration", "Observation")]
        said_by_order.add(repr(sorted((item["resourceType"], item["id"], repr(item)) for item in facts)))
        hospital.ledger.close()
    assert len(said_by_order) == 1


def test_a_table_alone_makes_no_patient_and_no_administration(department: Department) -> None:
    department.bring(table())
    assert department.publish() == 0
    assert department.resources() == []
    assert department.waiting() == ["No object tells of this patient yet; a table creates no patient."]


def test_the_same_file_again_changes_nothing(department: Department, cycle: list[Record]) -> None:
    department.take(cycle[0])
    assert department.bring(table()).is_new
    assert department.publish() >= 1
    assert not department.bring(table(), name="copy of cycle1.csv").is_new
    assert department.publish() == 0
    assert len(department.ledger.tables.listed(everything=True)) == 1


def test_what_fits_no_administration_waits_and_a_person_assigns_it(department: Department, cycle: list[Record]) -> None:
    department.take(cycle[0])
    department.bring(table().replace("2026-03-03 09:33", "2026-03-05 09:33"))
    department.publish()
    assert department.facts("organ-absorbed-dose") == []
    assert department.waiting() == ["No administration of the patient fits by nuclide, start and activity: choose one."]
    (part,) = department.ledger.tables.listed()
    found = choices(department.line, part.id)
    (patient,) = found.patients
    assert patient.key == KEY
    assert [candidate.fits for candidate in patient.administrations] == [False]
    decision = assign(
        department.line, part.id, department.by("typing error in the export"), patient=None, administration="1", cycle=2
    )
    assert (decision.decided_by, decision.reason, decision.cycle) == ("A physicist", "typing error in the export", 2)
    department.publish()
    (dose,) = department.facts("organ-absorbed-dose")
    assert dose["partOf"] == [{"reference": f"MedicationAdministration/{department.administrations()[0]['id']}"}]
    assert dose["note"] == [{"text": "A person assigned the table to its administration."}]
    (word,) = [item for item in department.resources() if item["resourceType"] == "Provenance" and "reason" in item]
    assert {"reference": f"Observation/{dose['id']}"} in word["target"]
    assert word["agent"][0]["who"] == {"display": decision.decided_by}
    assert (word["reason"], word["activity"]["text"]) == (
        [{"text": decision.reason}],
        "Table assigned to a patient and an administration",
    )
    (source,) = word["entity"]
    assert source["what"]["identifier"] == {
        "system": "urn:isobridge:table",
        "value": department.ledger.tables.listed(everything=True)[0].digest,
    }
    assert "row 2" in source["what"]["display"]
    assert department.waiting() == []


def test_only_known_patients_and_their_own_administrations_can_be_chosen(department: Department, cycle: list[Record]) -> None:
    department.take(cycle[0])
    department.bring(table().replace("SAMPLE-0003", "SOMEBODY-ELSE"))
    department.publish()
    (part,) = department.ledger.tables.listed()
    with pytest.raises(Rejected, match="No known patient"):
        assign(department.line, part.id, department.by(), patient="NOBODY", administration="1", cycle=None)
    with pytest.raises(Rejected, match="no such administration"):
        assign(department.line, part.id, department.by(), patient="SAMPLE-0003", administration="7", cycle=None)
    with pytest.raises(Rejected, match="No object tells of this patient"):
        department.ledger.tables.assign(part.id, department.by(), patient_key="x|y", administration_id=None, cycle=None)
    assign(department.line, part.id, department.by(), patient="SAMPLE-0003", administration="1", cycle=None)
    department.publish()
    assert len(department.facts("organ-absorbed-dose")) == 1


def test_a_corrected_table_takes_the_place_of_the_former_one(department: Department, cycle: list[Record]) -> None:
    department.take(cycle[0])
    department.bring(table(by="MPE-7;2026-03-12"))
    department.publish()
    (first,) = department.facts("organ-absorbed-dose")
    assert said(first) == ("final", Decimal("4.47"), "Gy")
    (report,) = [
        one for one in department.resources() if one["resourceType"] == "DiagnosticReport" and "urn:isobridge:table" in str(one)
    ]
    assert (
        report["effectiveDateTime"] == first["effectiveDateTime"] == department.administrations()[0]["effectivePeriod"]["start"]
    )
    without_bed = table(dose="4,12", per="", by="MPE-7;2026-03-13")
    department.bring(without_bed, name="cycle1 corrected.csv")
    department.publish()
    (dose,) = department.facts("organ-absorbed-dose")
    assert dose["id"] == first["id"]
    assert said(dose) == ("amended", Decimal("4.12"), "Gy")
    (coefficient,) = department.facts("absorbed-dose-coefficient")
    assert coefficient["status"] == "entered-in-error"


def test_a_table_is_withdrawn_and_comes_back(department: Department, cycle: list[Record]) -> None:
    department.take(cycle[0])
    department.bring(table())
    department.publish()
    (part,) = department.ledger.tables.listed(everything=True)
    department.ledger.tables.withdraw(part.id, department.by("wrong VOI"))
    department.publish()
    assert {item["status"] for item in department.facts("organ-absorbed-dose")} == {"entered-in-error"}
    with pytest.raises(Rejected, match="withdrawn already"):
        department.ledger.tables.withdraw(part.id, department.by())
    department.ledger.tables.restore(part.id, department.by("it was right"))
    department.publish()
    assert [said(item)[0] for item in department.facts("organ-absorbed-dose")] == ["preliminary"]
    assert [str(decision.kind) for decision in department.ledger.tables.decisions(part.id)] == ["withdraw", "restore"]
    (dose,) = department.facts("organ-absorbed-dose")
    told = {item["activity"]["text"]: item for item in department.resources() if "reason" in item}
    assert {words: item["reason"][0]["text"] for words, item in told.items()} == {
        "Table withdrawn": "wrong VOI",
        "Table that was withdrawn counts again": "it was right",
    }
    assert all({"reference": f"Observation/{dose['id']}"} in item["target"] for item in told.values())


def test_an_administration_that_a_table_made_is_the_one_that_the_report_tells_of_later(
    tmp_path: Path, cycle: list[Record]
) -> None:
    """The patient is known by a scan that says nothing of an injection; the table is published; then the report comes."""
    folder = tmp_path / "mappings"
    shutil.copytree(ROOT / "mappings", folder)
    path = folder / "tables" / "example_lutetium_csv.yaml"
    text = path.read_text()
    for old, new in (
        ("issuer: {column: Issuer}", "issuer: {value: ISOBRIDGE-SAMPLE}"),
        ("administration:\n", "administration:\n  create: true\n"),
        ("patient: {id: INVENTED-1}", "patient: {}"),
    ):
        text = text.replace(old, new, 1)
    path.write_text(text)
    department = Department(tmp_path, site_of(folder))
    silent = dataclasses.replace(cycle[1].shared, key="silent", administrations=())
    department.take(dataclasses.replace(cycle[1], shared=silent))
    department.bring(table())
    department.publish()
    (made,) = department.administrations()
    assert made["dosage"]["dose"]["value"] == 7390
    (before,) = department.facts("organ-absorbed-dose")
    department.take(cycle[0])
    department.publish()
    (given,) = department.administrations()
    assert given["dosage"]["dose"]["value"] == Decimal("7386.4")
    (dose,) = [item for item in department.facts("organ-absorbed-dose") if item["status"] != "entered-in-error"]
    assert dose["partOf"] == [{"reference": f"MedicationAdministration/{given['id']}"}]
    assert said(dose)[1:] == said(before)[1:]
    assert department.waiting() == []
    department.ledger.close()


def test_what_a_killed_import_left_half_written_goes_and_the_table_comes_again(department: Department, tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "tables"
    folder.mkdir(parents=True)
    old, young = folder / ".a.part", folder / ".b.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert department.bring(table()).is_new
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == [".b.part"]


SIRT = """PatientID;Date;Lobe;Vial_GBq;Injected_GBq;Residual_GBq;LungShunt_pct;TN;Volume_mL;Dose_Gy
SAMPLE-0003;03/06/2026 10:15;right;2,10;2,02;0,08;4,5;3,1;1150;120,5
SAMPLE-0003;03/06/2026 11:05;left;1,00;0,95;0,05;4,5;2,8;480;98,0
"""


def test_radioembolisation_tells_of_its_own_administrations(department: Department, cycle: list[Record]) -> None:
    """One for each lobe: the adapter says so. Its patient is known from objects."""
    department.take(cycle[0])
    department.bring(SIRT)
    department.publish()
    assert department.waiting()  # the site's own issuer: nobody knows that patient
    for part in department.ledger.tables.listed():
        assert choices(department.line, part.id).may_be_without
        assign(department.line, part.id, department.by(), patient="SAMPLE-0003", administration=None, cycle=None)
    department.publish()
    given = {item["effectiveDateTime"]: item for item in department.administrations() if "effectiveDateTime" in item}
    right, left = given["2026-06-03T10:15:00+02:00"], given["2026-06-03T11:05:00+02:00"]
    reports = [item for item in department.resources() if item["resourceType"] == "DiagnosticReport" and "issued" in item]
    assert {item["effectiveDateTime"] for item in reports} >= {right["effectiveDateTime"], left["effectiveDateTime"]}
    assert right["dosage"]["dose"] == {"value": 2020, "unit": "MBq", "system": "http://unitsofmeasure.org", "code": "MBq"}
    assert left["dosage"]["site"]["text"] == "Left lobe of liver"
    told = [item for item in department.resources() if item["resourceType"] == "Observation" and item.get("partOf")]
    of_right = [item for item in told if item["partOf"][0]["reference"].endswith(right["id"])]
    assert {"lung-shunt-fraction", "tumour-to-normal-ratio", "treated-volume", "residual-activity", "organ-absorbed-dose"} <= {
        coding["code"] for item in of_right for coding in item["code"]["coding"]
    }
    for part in department.ledger.tables.listed(everything=True):
        department.ledger.tables.withdraw(part.id, department.by("of somebody else"))
    department.publish()
    gone = {f"MedicationAdministration/{item['id']}" for item in (right, left)}
    acts = [item for item in department.resources() if item["resourceType"] == "MedicationAdministration"]
    by_id = {f"MedicationAdministration/{item['id']}": item["status"] for item in acts}
    assert {by_id[reference] for reference in gone} == {"entered-in-error"}
    words = [item for item in department.resources() if item.get("activity", {}).get("text") == "Table withdrawn"]
    assert gone == {one["reference"] for item in words for one in item["target"]} & set(by_id)


CAMERAS = """{"CAXX": {"Camera A": {"manufacturer": "Siemens", "collimator": "MELP",
  "sensitivity": {"Detector1": 9.35, "Average": 9.25875822071179}, "calibration_factor": {"Average": 0.108}}}}"""


def test_the_sensitivity_of_a_camera_is_a_fact_about_the_camera(department: Department) -> None:
    """It needs no person, no patient and no administration; a later measurement stands beside it."""
    department.bring(CAMERAS, name="cameras.json")
    assert department.publish() == 1
    by_type = {item["resourceType"]: item for item in department.resources()}
    assert "Patient" not in by_type
    assert "subject" not in by_type["Observation"]
    assert by_type["Observation"]["focus"] == [{"reference": f"Device/{by_type['Device']['id']}"}]
    assert by_type["Observation"]["valueQuantity"]["code"] == "{counts}/s/MBq"
    assert by_type["Device"]["deviceName"][0]["name"] == "Camera A"
    assert department.waiting() == []
    department.bring(CAMERAS.replace("9.258", "9.111"), name="cameras.json")
    department.publish()
    told = [item for item in department.resources() if item["resourceType"] == "Observation"]
    assert sorted(str(item["valueQuantity"]["value"])[:5] for item in told) == ["9.111", "9.258"]
    assert {item["status"] for item in told} == {"preliminary"}


def test_the_source_of_every_value_is_a_cell(department: Department, cycle: list[Record]) -> None:
    department.take(cycle[0])
    department.bring(table())
    department.publish()
    (dose,) = department.facts("organ-absorbed-dose")
    assert "table: example_lutetium_csv: row 2, column D_Gy" in {extension.get("valueString") for extension in dose["extension"]}
    (document,) = [
        item
        for item in department.resources()
        if item["resourceType"] == "DocumentReference" and item["content"][0]["attachment"]["contentType"] == "text/csv"
    ]
    kept = TableFiles(Path(department.line.files.directory) / "spool").read(document["identifier"][0]["value"])
    assert kept == table().encode("cp1252")
