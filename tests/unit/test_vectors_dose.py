"""The dosimetry vector (standards.md C.7) from a table to FHIR, and each acceptance check of the worked example (G.1), by its name."""

from __future__ import annotations

import copy
import dataclasses
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.dicom.reading import header_of
from gateway.gather.dossier import gather_dossier
from gateway.mapping.example import encode
from gateway.model import JsonObject, SharedFields
from gateway.nuclear import dosimetry
from gateway.nuclear.decay import net_activity
from gateway.r4.bundles import resources_of, transaction
from gateway.store import FhirStore
from gateway.tables.library import load_adapters
from gateway.tables.placing import ToPlace, place
from gateway.tables.records import record_of
from tests.harness.one_patient import MAPPINGS, RECORDED, shipped
from tests.worked_example import REPORT, changed, of_kind, pet_header, retired

SITE = dataclasses.replace(shipped(), adapters=load_adapters(MAPPINGS, shipped().mappings.codes))
PATIENT = "sys|EX-1"
F18_S = Decimal("6586.2")
#: The vector: 7,200 MBq, 3.0 % in a kidney of 310 g with 51.0 h; physical half-life 159.528 h; 0.1473 MeV stay there; 2.5 Gy and 2.8 h.
A0, PHYSICAL_H, EFFECTIVE_H, MASS_G = Decimal(7200), Decimal("159.528"), Decimal("51.0"), Decimal(310)
LU_TABLE = """\
PatientID;AdminDateTime;Radiopharmaceutical;AdminActivity_MBq;Cycle;VOI;Side;Mass_g;T_h;A_MBq;TIA_MBqh;TIAC_h;Teff_h;D_Gy;D_per_A_GyGBq;\
BED_Gy;EQD2_Gy;AlphaBeta_Gy;Trep_h;Software;Version;ApprovedBy;ApprovedAt
EX-1;2025-06-02 09:30;177Lu-DOTATATE;7200;1;Kidney;L;310;4;204,57;15892,73;2,20732;51,0;4,35564;0,604951;4,75059;2,63922;2,5;2,8;SW-X;3.1;;
EX-1;2025-06-02 09:30;177Lu-DOTATATE;7200;1;Kidney;L;310;24;155,88;;;;;;;;;;;;;
EX-1;2025-06-02 09:30;177Lu-DOTATATE;7200;1;Kidney;L;310;72;81,18;;;;;;;;;;;;;
EX-1;2025-06-02 09:30;177Lu-DOTATATE;7200;1;Kidney;L;310;192;15,89;;;;;;;;;;;;;
"""
FDG_TABLE = """\
PatientID;AdminDateTime;Radiopharmaceutical;AdminActivity_MBq;Organ;OrganCoefficient;OrganDose_mGy;EffectiveCoefficient;EffectiveDose_mSv;Method
EX-1;2025-03-10 10:00;FDG;350;Urinary bladder wall;0.13;45.5;;;ICRP Publication 128
EX-1;2025-03-10 10:00;FDG;350;;;;0.019;6.65;ICRP Publication 128
"""


def report(tree: JsonObject) -> SharedFields:
    return SITE.understand(header_of(encode(tree))).shared


def lutetium() -> JsonObject:
    """A dose report of the therapy, without doses of its own."""
    tree = copy.deepcopy(REPORT)
    given = tree["sr"]["113502 DCM"]["items"]
    for name in ("113517 DCM", "113839 DCM", "113508 DCM", "113509 DCM", "123004 DCM"):
        del given[name]
    given["349358000 SCT"] = {"code": "781259000 SCT", "items": {"89457008 SCT": {"code": "447553000 SCT"}}}
    given |= {"123003 DCM": {"datetime": "20250602093000+0200"}, "113507 DCM": {"num": "7200", "unit": "MBq"}}
    tree["sr"]["363589002 SCT"]["items"]["363703001 SCT"] = {"code": "262202000 SCT"}
    return tree | {"StudyDate": "20250602"}


def published(tree: JsonObject, table: str, adapter: str) -> list[JsonObject]:
    """The FHIR of a dose report and of a table that belongs to its administration."""
    shared = report(tree)
    administrations = SITE.dossier(PATIENT, [shared], {}).administrations
    read = SITE.adapters.read(table.encode(), "table.csv", SITE.site.timezone, adapter=adapter)
    parts = [
        ToPlace(id=number, fields=record_of(one, read.adapter, "00" * 32, RECORDED), administration_id=None, cycle=None)
        for number, one in enumerate(read.parts)
    ]
    placed = place(parts, administrations, {}, SITE.mappings.codes)
    assert len(placed.records) == len(parts)
    return rendered([shared, *placed.records])


def rendered(records: list[SharedFields]) -> list[JsonObject]:
    bundle = SITE.dossier_bundle(SITE.dossier(PATIENT, records, {}), records, recorded=RECORDED)
    assert bundle is not None
    return resources_of(bundle.body)


@pytest.fixture(scope="module")
def kidney() -> list[JsonObject]:
    return published(lutetium(), LU_TABLE, "example_lutetium_csv")


@pytest.mark.parametrize(
    ("code", "number", "unit"),
    [
        ("time-integrated-activity", "15892.73", "MBq.h"),
        ("time-integrated-activity-coefficient", "2.20732", "h"),
        ("effective-half-life", "51.0", "h"),
        ("organ-absorbed-dose", "4.35564", "Gy"),
        ("absorbed-dose-coefficient", "0.604951", "mGy/MBq"),
        ("bed", "4.75059", "Gy{BED}"),
        ("eqd2", "2.63922", "Gy{EQD2}"),
    ],
)
def test_c7_each_quantity_of_the_kidney_is_published_as_it_was_told(
    code: str, number: str, unit: str, kidney: list[JsonObject]
) -> None:
    found = of_kind(kidney, code)
    assert (Decimal(found["valueQuantity"]["value"]), found["valueQuantity"]["code"]) == (Decimal(number), unit)
    assert found["bodySite"]["coding"][0]["code"] == "64033007"
    assert found["status"] == "preliminary"  # nobody approved it
    assert not any("does not" in note["text"] for note in found.get("note", ()))


def test_c7_the_four_points_of_the_curve_stand_at_their_times(kidney: list[JsonObject]) -> None:
    points = [one for one in of_kind(kidney, "time-activity-curve")["component"] if "extension" in one]
    told = [(one["extension"][0]["valueInteger"], str(one["valueQuantity"]["value"])) for one in points]
    hours = 3_600_000
    assert told == [(4 * hours, "204.57"), (24 * hours, "155.88"), (72 * hours, "81.18"), (192 * hours, "15.89")]


def test_c7_the_vector_follows_from_its_own_formulae() -> None:
    """Activity at each point, its integral, the biological half-life, dose, BED and EQD2: computed here from the inputs alone."""
    rate = Decimal(2).ln() / EFFECTIVE_H
    start = A0 * Decimal("0.03")
    for hours, told in ((4, "204.57"), (24, "155.88"), (72, "81.18"), (192, "15.89")):
        assert abs(start * (-rate * hours).exp() - Decimal(told)) < Decimal("0.01")
    integral = start / rate
    assert abs(integral - Decimal("15892.73")) < Decimal("0.01")
    assert abs(integral / A0 - Decimal("2.20732")) < Decimal("1e-5")
    biological = dosimetry.biological_half_life(EFFECTIVE_H, PHYSICAL_H)
    assert biological is not None
    assert abs(biological - Decimal("74.966")) < Decimal("0.001")
    decays, joule = integral * 3600 * 10**6, Decimal("0.1473") * Decimal("1.602176634e-13")
    dose = decays * joule / (MASS_G / 1000)
    assert abs(dose / Decimal("4.35564") - 1) < Decimal("1e-5")
    assert abs(dose / A0 * 1000 / Decimal("0.604951") - 1) < Decimal("1e-5")
    bed = dosimetry.bed(dose, Decimal("2.5"), Decimal("2.8"), EFFECTIVE_H)
    assert abs(bed / Decimal("4.75059") - 1) < Decimal("1e-5")
    assert abs(dosimetry.eqd2(bed, Decimal("2.5")) / Decimal("2.63922") - 1) < Decimal("1e-5")


def test_c7_effective_and_bladder_dose_of_fdg_through_a_table() -> None:
    tree = copy.deepcopy(REPORT)
    for name in ("113517 DCM", "113839 DCM"):
        del tree["sr"]["113502 DCM"]["items"][name]
    found = published(tree, FDG_TABLE, "example_diagnostic_csv")
    effective, bladder = of_kind(found, "113839"), of_kind(found, "113518")
    assert (str(effective["valueQuantity"]["value"]), effective["valueQuantity"]["code"]) == ("6.65", "mSv")
    assert effective["method"] == {"text": "ICRP Publication 128"}
    assert (str(bladder["valueQuantity"]["value"]), bladder["valueQuantity"]["code"]) == ("0.0455", "Gy")
    assert str(bladder["valueQuantity"]["extension"][0]["valueQuantity"]["value"]) == "45.5"
    (given,) = (one for one in found if one["resourceType"] == "MedicationAdministration")
    assert all({"reference": f"MedicationAdministration/{given['id']}"} in one["partOf"] for one in (effective, bladder))


def test_c7_the_effective_dose_of_a_therapy_is_withheld_whatever_its_table_says() -> None:
    """The adapter says diagnostic, the dose report of the same administration therapeutic."""
    table = (
        FDG_TABLE.replace("2025-03-10 10:00;FDG;350", "2025-06-02 09:30;177Lu-DOTATATE;7200")
        .replace("45.5", "936")
        .replace("6.65", "136.8")
    )
    found = published(lutetium(), table, "example_diagnostic_csv")
    assert not any("113839" in str(one.get("code")) for one in found)
    assert str(of_kind(found, "113518")["valueQuantity"]["value"]) == "0.936"
    assert any("explicitly diagnostic" in str(one.get("extension")) for one in found if one["resourceType"] == "DiagnosticReport")


# --- acceptance checks of G.1 ----------------------------------------------------------------------------------------------------


def test_g1_the_activity_from_the_syringe_is_349_95_mbq_within_1_percent_of_350_else_flagged() -> None:
    minutes = {"before_s": Decimal(600), "residual_s": Decimal(300), "half_life_s": F18_S}
    net = net_activity(before=Decimal("382.0"), residual=Decimal("8.4"), **minutes)
    assert abs(net - Decimal("349.95")) < Decimal("0.01")

    def notes(tree: JsonObject) -> list[str]:
        (given,) = (one for one in rendered([report(tree)]) if one["resourceType"] == "MedicationAdministration")
        return [note["text"] for note in given.get("note", ())]

    assert notes(REPORT) == []
    measured = {**REPORT["sr"]["113502 DCM"]["items"]["113508 DCM"], "num": "365.0"}
    assert any("before" in note for note in notes(changed("113502 DCM/113508 DCM", measured)))


def test_g1_the_same_instance_again_creates_nothing() -> None:
    once, twice = rendered([report(REPORT)]), rendered([report(REPORT), report(REPORT)])
    assert once == twice


def test_g1_the_copy_in_srt_codes_gives_identical_fhir() -> None:
    twin = rendered([report({**REPORT, "sr": retired(REPORT["sr"])})])
    assert [one for one in twin if one["resourceType"] != "Provenance"] == [
        one for one in rendered([report(REPORT)]) if one["resourceType"] != "Provenance"
    ]


def test_g1_the_milligray_of_an_organ_dose_are_kept_beside_gray() -> None:
    quantity = of_kind(rendered([report(REPORT)]), "113518")["valueQuantity"]
    stated = quantity["extension"][0]["valueQuantity"]
    assert (str(quantity["value"]), quantity["code"], str(stated["value"]), stated["code"]) == ("0.0455", "Gy", "45.5", "mGy")


def test_g1_an_image_of_350_bq_is_repaired_and_one_administration_remains() -> None:
    shared = report(pet_header())
    assert shared.administrations[0]["activity"] == {"value": Decimal(350), "unit": "MBq"}
    assert shared.administrations[0]["activity_repaired"] is True
    (given,) = (one for one in rendered([shared, report(REPORT)]) if one["resourceType"] == "MedicationAdministration")
    assert str(given["dosage"]["dose"]["value"]) == "350"


def test_g1_another_event_uid_within_the_tolerances_is_one_administration_and_the_merge_is_recorded() -> None:
    other = report(
        pet_header(
            RadiopharmaceuticalAdministrationEventUID="2.25.77",
            RadiopharmaceuticalStartDateTime="20250310100400",
            RadionuclideTotalDose="360000000",
        )
    )
    found = gather_dossier(PATIENT, [other, report(REPORT)], known={}, mint=SITE.renderer.mint)
    (one,) = found.administrations
    assert (one.reconciled, set(one.event_uids)) == (True, {"2.25.77", "1.2.826.0.1.3680043.10.999.1.9"})
    assert "4 min later, with 2.9 % more activity" in one.issues[0].reason
    (given,) = (one for one in rendered([other, report(REPORT)]) if one["resourceType"] == "MedicationAdministration")
    assert "reconciled" in {tag["code"] for tag in given["meta"]["tag"]}


def test_g1_a_search_by_part_of_returns_all_observations(tmp_path: Path) -> None:
    resources = rendered([report(REPORT)])
    (given,) = (one for one in resources if one["resourceType"] == "MedicationAdministration")
    wanted = {one["id"] for one in resources if one["resourceType"] == "Observation"}
    assert len(wanted) == 7
    store = FhirStore(f"sqlite:///{tmp_path / 'store.db'}")
    store.transact(transaction(resources))
    page = store.search("Observation", [("part-of", f"MedicationAdministration/{given['id']}")])
    store.close()
    assert {entry.stored.id for entry in page.entries} == wanted
