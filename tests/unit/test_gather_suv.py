"""The SUV factor from DICOM objects: read by the shipped mappings, gathered in any order, for each vendor's ways."""

from __future__ import annotations

import random
from collections.abc import Iterable
from copy import deepcopy
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from gateway.dicom.reading import header_of, read_header
from gateway.gather.study import Member, gather_study
from gateway.mapping.language import Mappings, load
from gateway.model import JsonObject, Record
from gateway.normalise.record import SharedCache, SiteContext, normalise
from tests.builders import ABSENT, part10, pet, rrdsr, uid

SHIPPED = Path(__file__).resolve().parents[2] / "mappings"
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "pet"
RPI = "RadiopharmaceuticalInformationSequence[0]"
#: The case of the builders: 350 MBq at 10:00, scan at 11:00, 75 kg, 1.75 m, male: vector 1 of standards.md B.3.
VECTOR_1 = Decimal("3.129936e-4")


@cache
def mappings() -> Mappings:
    return load(SHIPPED)


def read(header: Any) -> Record:
    mapping = mappings().for_header(header)
    return normalise(header, mapping, SiteContext(timezone=ZoneInfo("Europe/Brussels")), SharedCache(64))


def gathered(records: Iterable[Record]) -> JsonObject:
    members = [
        Member(member_id=number, patient_key="P", shared=record.shared, instance=record.instance)
        for number, record in enumerate(records)
    ]
    [series] = gather_study("1", members).series
    return series.suv


def suv(*objects: Dataset) -> JsonObject:
    return gathered(read(header_of(part10(one))) for one in objects)


def slice_at(number: int, **changes: Any) -> Dataset:
    return pet(**({"SOPInstanceUID": uid(f"suv/{number}"), "InstanceNumber": number} | changes))


def reasons(found: JsonObject) -> set[str]:
    return {reason["code"] for reason in found.get("reasons", ())}


def close(value: Any, expected: Decimal, tolerance: str = "1e-5") -> bool:
    return abs(Decimal(value) / expected - 1) <= Decimal(tolerance)


def test_a_plain_series_has_the_factor_of_vector_1_with_all_its_inputs() -> None:
    found = suv(slice_at(1), slice_at(2))
    assert found["factor"]["unit"] == "g/Bq"
    assert close(found["factor"]["value"], VECTOR_1)
    assert found["voxel_unit"]["code"] == "Bq/mL"
    assert found["inputs"]["weight"] == {"value": Decimal(75), "unit": "kg"}
    assert found["inputs"]["size"] == {"value": Decimal(175), "unit": "cm"}
    assert found["inputs"]["sex"]["code"] == "male"
    assert found["inputs"]["activity"] == {"value": Decimal(350), "unit": "MBq"}
    assert close(found["inputs"]["activity_at_reference"]["value"], Decimal("239.62152185"))
    assert [entry["code"]["code"] for entry in found["types"] if "factor" in entry] == [
        "suv-scale-factor-lbm",
        "suv-scale-factor-lbm-james128",
        "suv-scale-factor-lbm-janma",
        "suv-scale-factor-ibw",
        "suv-scale-factor-bsa",
    ]


def test_vector_11_an_activity_in_megabecquerels_is_repaired_and_marked() -> None:
    found = suv(slice_at(1, **{f"{RPI}.RadionuclideTotalDose": "350"}))
    assert close(found["factor"]["value"], VECTOR_1)
    assert found["repaired"] is True


def reported(**changes: Any) -> Dataset:
    """A dose report of the same injection, in the same study."""
    report = rrdsr(SOPInstanceUID=uid("suv/report"), SeriesInstanceUID=uid("suv/reports"))
    for item in report.ContentSequence[1].ContentSequence:
        told = changes.get(f"c{item.ConceptNameCodeSequence[0].CodeValue}")
        if told is not None and item.ValueType == "DATETIME":
            item.DateTime = told
        elif told is not None:
            item.MeasuredValueSequence[0].NumericValue = told
    return report


def with_reports(*reports: Dataset) -> JsonObject:
    records = [read(header_of(part10(one))) for one in (slice_at(1), *reports)]
    members = [
        Member(member_id=number, patient_key="P", shared=one.shared, instance=one.instance) for number, one in enumerate(records)
    ]
    [series] = [one for one in gather_study("1", members).series if one.suv]
    return series.suv


def test_a_dose_report_that_tells_another_time_of_injection_is_told_and_the_factor_rests_on_the_header() -> None:
    started = "20250310095200+0100"
    found = with_reports(reported(c123003=started))
    assert close(found["factor"]["value"], VECTOR_1)
    assert found["remarks"][-1] == (
        "Compared with the header, a dose report of the study tells of the injection 8 min earlier, with the same activity; "
        "the factor rests on the header."
    )
    assert found["discrepancy"] == found["remarks"][-1]
    assert "discrepancy" not in with_reports(reported())
    assert with_reports(reported()).get("remarks", []) == [remark for remark in found["remarks"] if "dose report" not in remark]
    assert any("10 % less activity" in remark for remark in with_reports(reported(c113507="315"))["remarks"])


def test_slopes_that_differ_from_slice_to_slice_do_not_touch_the_factor() -> None:
    found = suv(slice_at(1, RescaleSlope="0.5"), slice_at(2, RescaleSlope="2.5"))
    assert close(found["factor"]["value"], VECTOR_1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientWeight": ABSENT}, "weight"),
        ({"PatientWeight": "0"}, "weight"),
        ({"PatientWeight": "75000"}, "weight"),
        ({"CorrectedImage": ["DECY", "NORM"]}, "correction"),
        ({"CorrectedImage": ["ATTN", "NORM"]}, "correction"),
        ({"CorrectedImage": ABSENT}, "correction"),
        ({"DecayCorrection": ABSENT}, "decay"),
        ({"DecayCorrection": "OTHER"}, "decay"),
        ({"Units": "PROPCPS"}, "units"),
        ({"Units": "CNTS"}, "units"),
        ({f"{RPI}.RadionuclideTotalDose": "10"}, "dose"),
        ({f"{RPI}.RadiopharmaceuticalStartDateTime": ABSENT, f"{RPI}.RadiopharmaceuticalStartTime": ABSENT}, "injectionTime"),
        ({"RadiopharmaceuticalInformationSequence": ABSENT}, "dose"),
    ],
)
def test_what_is_missing_withheld_or_contradictory_is_a_reason_and_no_number(changes: dict[str, Any], reason: str) -> None:
    found = suv(slice_at(1, **changes))
    assert "factor" not in found
    assert reason in reasons(found)
    assert found["absent"] in ("unknown", "not-applicable")
    assert any(remark.startswith("No factor by body weight") for remark in found["remarks"])


def test_a_size_in_centimetres_costs_the_types_that_need_it() -> None:
    found = suv(slice_at(1, PatientSize="175"))
    assert close(found["factor"]["value"], VECTOR_1)
    told = {entry["code"]["code"]: {reason["code"] for reason in entry.get("reasons", ())} for entry in found["types"]}
    assert told["suv-scale-factor-bsa"] == told["suv-scale-factor-ibw"] == {"size"}


def test_two_tracers_have_no_common_factor() -> None:
    two = slice_at(1)
    other = deepcopy(two.RadiopharmaceuticalInformationSequence[0])
    other.RadiopharmaceuticalStartTime = other.RadiopharmaceuticalStartDateTime = None
    two.RadiopharmaceuticalInformationSequence.append(other)
    found = suv(two)
    assert reasons(found) == {"multiTracer"}


def test_slices_that_state_different_activities_or_weights_contradict_each_other() -> None:
    assert reasons(suv(slice_at(1), slice_at(2, **{f"{RPI}.RadionuclideTotalDose": "351000000"}))) == {"multiTracer"}
    assert reasons(suv(slice_at(1), slice_at(2, PatientWeight="76"))) == {"weight"}


def test_the_earliest_acquisition_of_all_slices_decides_whether_the_series_time_counts() -> None:
    later = {"SeriesTime": "110300", "AcquisitionTime": "110500"}
    assert close(suv(slice_at(1, **later))["factor"]["value"], VECTOR_1 * Decimal(2) ** (Decimal(180) / Decimal("6586.2")))
    earliest = slice_at(2, SeriesTime="110300", AcquisitionTime="110000")
    assert reasons(suv(slice_at(1, **later), earliest)) == {"decay"}


PRIVATE = {"Manufacturer": "SIEMENS", "SeriesTime": "115900", "FrameReferenceTime": ABSENT}


def with_private(dataset: Dataset, group: int, creator: str, block: int, elements: dict[int, tuple[str, Any]]) -> Dataset:
    """Private elements in a block of our choice: ``(gggg,00bb)`` owns ``(gggg,bbxx)``."""
    dataset.add_new((group, block), "LO", creator)
    for element, (vr, value) in elements.items():
        dataset.add_new((group, block << 8 | element), vr, value)
    return dataset


@pytest.mark.parametrize("block", [0x10, 0x11, 0x42, 0xFE])
def test_private_references_count_wherever_their_block_lies(block: int) -> None:
    stated = "20250310110000.00"
    siemens = with_private(slice_at(1, **PRIVATE), 0x0071, "SIEMENS MED PT", block, {0x22: ("DT", stated)})
    ge = with_private(
        slice_at(2, **(PRIVATE | {"Manufacturer": "GE MEDICAL SYSTEMS"})), 0x0009, "GEMS_PETD_01", block, {0x0D: ("DT", stated)}
    )
    for one in (siemens, ge):
        found = suv(one)
        assert close(found["factor"]["value"], VECTOR_1)
        assert found["inputs"]["reference_from"] == "the header's own date-time of decay correction"


def test_the_block_of_another_creator_is_no_reference() -> None:
    other = with_private(slice_at(1, **PRIVATE), 0x0071, "SOMEBODY ELSE", 0x10, {0x22: ("DT", "20250310110000.00")})
    assert "factor" not in suv(other)


@pytest.mark.parametrize("block", [0x10, 0x33])
def test_the_factor_of_philips_is_taken_and_zero_is_none(block: int) -> None:
    philips = {"Manufacturer": "Philips", "Units": "CNTS", "RescaleSlope": "0.5"}
    own = with_private(
        slice_at(1, **philips), 0x7053, "Philips PET Private Group", block, {0x00: ("DS", "0.0005"), 0x09: ("DS", "0")}
    )
    found = suv(own)
    assert found["factor"] == {"value": Decimal("0.0005"), "unit": "g/mL/{counts}"}
    assert 20000 * Decimal("0.5") * found["factor"]["value"] == 5
    none = with_private(
        slice_at(1, **philips), 0x7053, "Philips PET Private Group", block, {0x00: ("DS", "0"), 0x09: ("DS", "0")}
    )
    assert reasons(suv(none)) == {"units"}
    to_bq = with_private(
        slice_at(1, **philips), 0x7053, "Philips PET Private Group", block, {0x00: ("DS", "0"), 0x09: ("DS", "1.6")}
    )
    assert close(suv(to_bq)["factor"]["value"], VECTOR_1 * Decimal("1.6"))


def test_vector_14_the_syringe_before_minus_after_stands_in_where_ge_states_no_activity() -> None:
    measured = {
        0x38: ("FL", 382.0),
        0x39: ("DT", "20250310095000.00"),
        0x3B: ("DT", "20250310100000.00"),
        0x3C: ("FL", 8.4),
        0x3D: ("DT", "20250310100500.00"),
    }
    ge = {"Manufacturer": "GE MEDICAL SYSTEMS", f"{RPI}.RadionuclideTotalDose": ABSENT}
    found = suv(with_private(slice_at(1, **ge), 0x0009, "GEMS_PETD_01", 0x10, measured))
    assert close(found["inputs"]["activity"]["value"], Decimal("349.9548"), "1e-6")
    assert close(found["factor"]["value"], VECTOR_1 * 350 / Decimal("349.9548"))
    assert any("before minus after, as measured" in remark for remark in found["remarks"])
    without_residual = {key: value for key, value in measured.items() if key not in (0x3C, 0x3D)}
    assert "dose" in reasons(suv(with_private(slice_at(1, **ge), 0x0009, "GEMS_PETD_01", 0x10, without_residual)))


def test_a_stated_activity_that_the_syringe_contradicts_is_told() -> None:
    measured = {0x38: ("FL", 365.0), 0x39: ("DT", "20250310095000.00"), 0x3C: ("FL", 8.0), 0x3D: ("DT", "20250310100500.00")}
    ge = slice_at(1, Manufacturer="GE MEDICAL SYSTEMS")
    found = suv(with_private(ge, 0x0009, "GEMS_PETD_01", 0x10, measured))
    assert close(found["factor"]["value"], VECTOR_1)
    assert any("differs from the stated activity by more than 1 %" in remark for remark in found["remarks"])


def test_voxels_without_decay_correction_have_a_factor_for_each_frame() -> None:
    raw = {"CorrectedImage": ["ATTN", "NORM"], "DecayCorrection": "NONE", "ActualFrameDuration": "180000"}
    found = suv(*(slice_at(n, AcquisitionTime=time, **raw) for n, time in enumerate(("110300", "110000"))))
    assert "factor" not in found
    assert [frame["offset_ms"] for frame in found["frames"]] == [0, 180000]
    assert found["at"] == "2025-03-10T11:00:00+01:00"
    assert close(found["frames"][0]["factor"]["value"], Decimal("3.159676e-4"))
    assert reasons(found) == {"frames"}


def test_images_that_are_missing_are_told() -> None:
    found = suv(slice_at(1, NumberOfSlices=6))
    assert any(remark.startswith("Of 6 images that the series names 1 are here") for remark in found["remarks"])
    assert not any("are here" in remark for remark in suv(*(slice_at(n, NumberOfSlices=2) for n in (1, 2))).get("remarks", ()))


def test_enhanced_pet_names_its_own_reference() -> None:
    enhanced = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.130",
        "Units": ABSENT,
        "DecayCorrection": ABSENT,
        "CorrectedImage": ABSENT,
        "DecayCorrected": "YES",
        "AttenuationCorrected": "YES",
        "DecayCorrectionDateTime": "20250310110000",
        f"{RPI}.RadionuclideTotalDose": "350",
        "SharedFunctionalGroupsSequence": [
            {
                "RealWorldValueMappingSequence": [
                    {
                        "MeasurementUnitsCodeSequence": [
                            {"CodeValue": "Bq/ml", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "Bq/ml"}
                        ]
                    }
                ]
            }
        ],
    }
    found = suv(slice_at(1, **enhanced))
    assert close(found["factor"]["value"], VECTOR_1)
    assert reasons(suv(slice_at(1, **(enhanced | {"AttenuationCorrected": "NO"})))) == {"correction"}
    frames = [
        {"FrameContentSequence": [{"FrameAcquisitionDateTime": f"2025031011{minute:02}00", "FrameAcquisitionDuration": 180000.0}]}
        for minute in (0, 3)
    ]
    raw = suv(slice_at(1, **(enhanced | {"DecayCorrected": "NO", "PerFrameFunctionalGroupsSequence": frames})))
    assert [frame["offset_ms"] for frame in raw["frames"]] == [0, 180000]


def test_a_ct_has_none() -> None:
    assert suv(pet(SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")) == {}


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 5))
def test_any_order_of_arrival_gives_the_same_bytes(order: random.Random, count: int) -> None:
    records = _varied(count)
    expected = gathered(records)
    shuffled = [*records, records[0]]
    order.shuffle(shuffled)
    shuffled = list({record.instance["uid"]: record for record in shuffled}.values())
    assert gathered(shuffled) == expected


@cache
def _varied(count: int) -> tuple[Record, ...]:
    times = ("110000", "110300", "110100", "110200", "110400")
    made = (
        slice_at(n, AcquisitionTime=times[n], FrameReferenceTime=str(1000 * n), ActualFrameDuration="60000") for n in range(count)
    )
    return tuple(read(header_of(part10(one))) for one in made)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real PET headers of the shared data")
@pytest.mark.parametrize(
    ("files", "weight_kg", "activity_mbq", "elapsed_s", "half_life_s"),
    [
        # GE whole body: AcquisitionTime is that of the whole scan, the same in each bed; SeriesTime is the reference.
        ("ge/STS_001-raw/*.dcm", "71.0", "388.777472", "2711", "6588"),
        ("ge/ge-discovery-st_GH184_further-deidentified.dcm", "90", "474.592928", "5316", "6588"),
        # Siemens writes acquisitions in whole seconds, so that the first is one second before SeriesTime; (0071,xx22) decides.
        ("siemens-vision600-fdg-study/NM-PetIm-Siemens.dcm", "110", "394", "4050", "6586.2"),
    ],
)
def test_real_headers_give_what_arithmetic_gives(
    files: str, weight_kg: str, activity_mbq: str, elapsed_s: str, half_life_s: str
) -> None:
    found = gathered(read(read_header(path)) for path in sorted(REAL.glob(files)))
    left = float(activity_mbq) * 1e6 * 2 ** (-float(elapsed_s) / float(half_life_s))
    assert float(found["factor"]["value"]) == pytest.approx(float(weight_kg) * 1000 / left, rel=1e-7)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real PET headers of the shared data")
def test_real_headers_without_a_factor_say_why() -> None:
    quadra = gathered([read(read_header(next(REAL.glob("siemens-quadra-ge68/*.dcm"))))])
    assert {"units", "correction"} <= reasons(quadra)
    uptake = gathered(read(read_header(path)) for path in sorted(REAL.glob("ge/STS_002-mini-petct/PET/*.dcm")))
    assert uptake["factor"] == {"value": Decimal(1), "unit": "1"}


def test_vector_8_a_start_time_without_a_day_before_midnight() -> None:
    night = {"SeriesTime": "001500", "AcquisitionTime": "001500", "PatientWeight": "80"}
    start = {f"{RPI}.RadiopharmaceuticalStartDateTime": ABSENT, f"{RPI}.RadiopharmaceuticalStartTime": "233000"}
    found = suv(slice_at(1, **night, **start, **{f"{RPI}.RadionuclideTotalDose": "300000000"}))
    assert close(5000 * found["factor"]["value"], Decimal("1.771517"))


def test_vector_9_a_long_lived_nuclide_needs_the_day_of_its_injection() -> None:
    zirconium = {
        "PatientWeight": "70",
        f"{RPI}.RadionuclideTotalDose": "37000000",
        f"{RPI}.RadionuclideHalfLife": "282276",
        f"{RPI}.RadionuclideCodeSequence": [
            {"CodeValue": "63360001", "CodingSchemeDesignator": "SCT", "CodeMeaning": "^89^Zirconium"}
        ],
        f"{RPI}.RadiopharmaceuticalCodeSequence": ABSENT,
        f"{RPI}.Radiopharmaceutical": ABSENT,
        f"{RPI}.RadiopharmaceuticalStartTime": "110000",
    }
    dated = suv(slice_at(1, **(zirconium | {f"{RPI}.RadiopharmaceuticalStartDateTime": "20250305110000"})))
    assert close(1000 * dated["factor"]["value"], Decimal("5.465095"))
    undated = suv(slice_at(1, **(zirconium | {f"{RPI}.RadiopharmaceuticalStartDateTime": ABSENT})))
    assert reasons(undated) == {"injectionTime"}


def test_the_uptake_time_is_from_the_injection_to_the_earliest_acquisition() -> None:
    def injected(clock: object) -> dict[str, object]:
        return {f"{RPI}.RadiopharmaceuticalStartDateTime": ABSENT, f"{RPI}.RadiopharmaceuticalStartTime": clock}

    first, second = slice_at(1, AcquisitionTime="110300"), slice_at(2, AcquisitionTime="113000")
    assert suv(second, first)["inputs"]["uptake_time"] == {"value": Decimal("1.05"), "unit": "h"}
    assert suv(second)["inputs"]["uptake_time"] == {"value": Decimal("1.5"), "unit": "h"}
    dynamic = slice_at(1, AcquisitionTime="110000", **injected("110100"))  # the scan was there before the tracer
    assert "uptake_time" not in suv(dynamic)["inputs"]
    assert "uptake_time" not in suv(slice_at(1, **injected(ABSENT)))["inputs"]
    assert "uptake_time" not in suv(first, slice_at(2, **injected("100500")))["inputs"]
