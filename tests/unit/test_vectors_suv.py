"""The 15 reference vectors of SUV (standards.md B.3), each from a DICOM object to the published FHIR Observation.

The arithmetic alone is tried in ``test_nuclear_suv.py``; here the number of the vector must come out of the rendered resource.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.reading import header_of
from gateway.gather.study import Member, gather_study
from gateway.model import JsonObject
from gateway.r4.bundles import resources_of
from tests.builders import ABSENT, part10, pet
from tests.harness.one_patient import RECORDED, shipped

UNDERSTANDING = shipped()
RPI = "RadiopharmaceuticalInformationSequence[0]"
#: Of every vector unless it says otherwise: relative, as standards.md B.3 states it.
TOLERANCE = Decimal("1e-5")
WOMAN = {"PatientSex": "F", "PatientWeight": "60", "PatientSize": "1.65"}
OTHER_AGENT = {f"{RPI}.RadiopharmaceuticalCodeSequence": ABSENT, f"{RPI}.Radiopharmaceutical": ABSENT}


def nuclide(code: str, meaning: str) -> list[dict[str, str]]:
    return [{"CodeValue": code, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}]


def observed(dataset: Dataset) -> JsonObject:
    """The Observation of the SUV factor of the study of one image."""
    record = UNDERSTANDING.understand(header_of(part10(dataset)))
    members = [Member(member_id=1, patient_key="P", shared=record.shared, instance=record.instance)]
    bundle = UNDERSTANDING.study_bundle(gather_study("1", members), [record.shared], recorded=RECORDED)
    (found,) = (one for one in resources_of(bundle.body) if one["resourceType"] == "Observation")
    return found


def value(found: JsonObject, code: str = "suv-scale-factor") -> Decimal:
    """The factor by this code: the value, or that of a component."""
    if code in [coding["code"] for coding in found["code"]["coding"]]:
        return Decimal(found["valueQuantity"]["value"])
    return Decimal(part(found, code)["valueQuantity"]["value"])


def part(found: JsonObject, code: str) -> JsonObject:
    component: JsonObject = next(one for one in found["component"] if one["code"]["coding"][0]["code"] == code)
    return component


def reasons(found: JsonObject) -> set[str]:
    return {coding["code"] for coding in found["dataAbsentReason"]["coding"]}


def close(found: Decimal, expected: str) -> bool:
    return abs(found / Decimal(expected) - 1) <= TOLERANCE


def test_vector_01_decay_to_the_start() -> None:
    found = observed(pet())
    assert close(value(found), "3.129936e-4")
    assert close(10000 * value(found), "3.129936")
    assert close(value(found, "activity-at-reference-time"), "239.62152185")


def test_vector_02_decay_to_the_administration() -> None:
    assert close(10000 * value(observed(pet(DecayCorrection="ADMIN"))), "2.142857")


@pytest.mark.parametrize(
    ("code", "suv"),
    [
        ("suv-scale-factor-lbm", "2.523112"),
        ("suv-scale-factor-lbm-james128", "2.461790"),
        ("suv-scale-factor-lbm-janma", "2.423977"),
        ("suv-scale-factor-ibw", "3.020597"),
    ],
)
def test_vector_03_lean_and_ideal_weight(code: str, suv: str) -> None:
    assert close(10000 * value(observed(pet()), code), suv)


def test_vector_04_body_surface() -> None:
    found = part(observed(pet()), "suv-scale-factor-bsa")["valueQuantity"]
    assert found["code"] == "cm2/Bq"
    assert close(10000 * Decimal(found["value"]), "0.794226")


@pytest.mark.parametrize(
    ("code", "suv"),
    [
        ("suv-scale-factor", "2.503949"),
        ("suv-scale-factor-lbm", "1.862510"),
        ("suv-scale-factor-lbm-janma", "1.639537"),
        ("suv-scale-factor-ibw", "2.392523"),
        ("suv-scale-factor-bsa", "0.692198"),
    ],
)
def test_vector_05_a_woman(code: str, suv: str) -> None:
    assert close(10000 * value(observed(pet(**WOMAN)), code), suv)


def test_vector_06_james_is_not_published_for_the_obese_and_janmahasatian_is() -> None:
    found = observed(pet(PatientWeight="160", PatientSize="1.65"))
    assert "bodyRange" in {coding["code"] for coding in part(found, "suv-scale-factor-lbm")["dataAbsentReason"]["coding"]}
    lean = value(found, "suv-scale-factor-lbm-janma") / value(found) * 160
    assert close(lean, "76.555360")


def test_vector_07_gallium() -> None:
    gallium = {f"{RPI}.RadionuclideCodeSequence": nuclide("35337001", "^68^Gallium"), f"{RPI}.RadionuclideHalfLife": "4062.6"}
    found = observed(pet(PatientWeight="70", **gallium, **OTHER_AGENT, **{f"{RPI}.RadionuclideTotalDose": "150000000"}))
    assert close(20000 * value(found), "17.250000")
    assert close(value(found, "activity-at-reference-time"), "81.1594204")


def test_vector_08_a_time_alone_before_midnight() -> None:
    night = {"SeriesTime": "001500", "AcquisitionTime": "001500", "PatientWeight": "80"}
    start = {f"{RPI}.RadiopharmaceuticalStartDateTime": ABSENT, f"{RPI}.RadiopharmaceuticalStartTime": "233000"}
    found = observed(pet(**night, **start, **{f"{RPI}.RadionuclideTotalDose": "300000000"}))
    assert close(5000 * value(found), "1.771517")
    assert close(value(found, "activity-at-reference-time"), "225.795139")


def test_vector_09_zirconium_needs_the_day() -> None:
    zirconium = {
        "PatientWeight": "70",
        f"{RPI}.RadionuclideTotalDose": "37000000",
        f"{RPI}.RadionuclideHalfLife": "282276",
        f"{RPI}.RadionuclideCodeSequence": nuclide("63360001", "^89^Zirconium"),
        **OTHER_AGENT,
    }
    dated = observed(pet(**zirconium, **{f"{RPI}.RadiopharmaceuticalStartDateTime": "20250305110000"}))
    assert close(1000 * value(dated), "5.465095")
    time = {f"{RPI}.RadiopharmaceuticalStartDateTime": ABSENT, f"{RPI}.RadiopharmaceuticalStartTime": "110000"}
    assert "injectionTime" in reasons(observed(pet(**zirconium, **time)))


def test_vector_10_without_decay_correction_the_mean_activity_of_the_frame_counts() -> None:
    found = observed(
        pet(CorrectedImage=["ATTN", "NORM"], DecayCorrection="NONE", ActualFrameDuration="180000", AcquisitionTime="110000")
    )
    assert close(value(found), "3.159676e-4")
    assert close(value(found, "activity-at-reference-time"), "237.3661361")
    assert part(found, "decay-reference-time")["valueDateTime"].startswith("2025-03-10T11:01:29.857923")


def test_vector_11_350_in_a_pet_header_is_repaired_and_flagged() -> None:
    found = observed(pet(**{f"{RPI}.RadionuclideTotalDose": "350"}))
    assert close(10000 * value(found), "3.129936")
    assert "repaired" in {tag["code"] for tag in found["meta"]["tag"]}


def philips(**elements: str) -> Dataset:
    dataset = pet(Manufacturer="Philips Medical Systems", Units="CNTS")
    dataset.add_new((0x7053, 0x10), "LO", "Philips PET Private Group")
    for name, text in elements.items():
        dataset.add_new((0x7053, 0x1000 | int(name[1:], 16)), "DS", text)
    return dataset


def test_vector_12_the_factor_of_philips() -> None:
    assert 20000 * Decimal("0.5") * value(observed(philips(x00="0.0005"))) == Decimal("5.0")
    assert "units" in reasons(observed(philips(x00="0")))


def test_vector_13_voxels_that_hold_uptake() -> None:
    found = observed(pet(Units="GML"))
    assert (value(found), found["valueQuantity"]["code"]) == (Decimal(1), "1")


@pytest.mark.parametrize(("before", "after", "net"), [(382.0, 8.4, "349.9548"), (365.0, 8.0, "334.4079")])
def test_vector_14_the_syringe_before_minus_after(before: float, after: float, net: str) -> None:
    dataset = pet(Manufacturer="GE MEDICAL SYSTEMS", **{f"{RPI}.RadionuclideTotalDose": ABSENT})
    dataset.add_new((0x0009, 0x10), "LO", "GEMS_PETD_01")
    told: dict[int, tuple[str, Any]] = {
        0x38: ("FL", before),
        0x39: ("DT", "20250310095000.00"),
        0x3B: ("DT", "20250310100000.00"),
        0x3C: ("FL", after),
        0x3D: ("DT", "20250310100500.00"),
    }
    for element, (vr, text) in told.items():
        dataset.add_new((0x0009, 0x1000 | element), vr, text)
    assert abs(value(observed(dataset), "113507") - Decimal(net)) < Decimal("0.0001")


def test_vector_15_without_weight_there_is_a_reason_and_no_factor() -> None:
    found = observed(pet(PatientWeight=ABSENT))
    assert "valueQuantity" not in found
    assert "weight" in reasons(found)
