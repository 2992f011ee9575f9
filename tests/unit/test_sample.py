"""The sample studies: plausible, consistent, invented, and the same every time."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from gateway.workbench.sample import SampleStudy, generate_cycle, generate_sample, generate_samples

SLICES = 12


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SampleStudy:
    return generate_sample(tmp_path_factory.mktemp("sample"), slices=SLICES)


@pytest.fixture(scope="module")
def datasets(study: SampleStudy) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in study.files]


def test_the_report_of_what_was_written_is_true(study: SampleStudy, datasets: list[Dataset]) -> None:
    assert [(m, sum(d.Modality == m for d in datasets)) for m in ("CT", "PT", "SR")] == list(study.instances_by_modality)
    assert {d.StudyInstanceUID for d in datasets} == {study.study_instance_uid}
    assert {d.AccessionNumber for d in datasets} == {study.accession_number}
    assert {d.PatientID for d in datasets} == {study.patient.patient_id}


def test_the_patient_is_obviously_invented(datasets: list[Dataset]) -> None:
    assert {str(d.PatientName) for d in datasets} == {"SAMPLE^FDG"}
    assert {d.InstitutionName for d in datasets} == {"Isobridge Sample Hospital"}


def test_every_uid_is_valid_and_unique(datasets: list[Dataset]) -> None:
    assert all(d.SOPInstanceUID.is_valid and d.SOPInstanceUID.startswith("2.25.") for d in datasets)
    assert len({d.SOPInstanceUID for d in datasets}) == 2 * SLICES + 1


def test_generating_twice_gives_the_same_bytes(study: SampleStudy, tmp_path: Path) -> None:
    again = generate_sample(tmp_path, slices=SLICES)
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in study.files]


def test_another_day_moves_the_dates_and_nothing_else(tmp_path: Path) -> None:
    other = generate_sample(tmp_path, slices=6, day=dt.date(2026, 7, 1))
    read = pydicom.dcmread(other.files[0])
    assert read.StudyDate == "20260701"
    assert read.TimezoneOffsetFromUTC == "+0200"  # summer time in Brussels


def test_the_administration_is_complete_and_in_becquerel(study: SampleStudy, datasets: list[Dataset]) -> None:
    item = next(d for d in datasets if d.Modality == "PT").RadiopharmaceuticalInformationSequence[0]
    assert Decimal(str(item.RadionuclideTotalDose)) == study.activity_mbq * 1_000_000
    assert item.RadiopharmaceuticalAdministrationEventUID == study.administration_event_uid
    assert item.RadiopharmaceuticalStartDateTime == f"{study.administered_at:%Y%m%d%H%M%S}.000"
    assert item.RadionuclideCodeSequence[0].CodeValue == "77004003"
    assert item.RadiopharmaceuticalCodeSequence[0].CodeValue == "35321007"


def test_liver_uptake_is_about_two_and_a_half_suv_when_read_back_the_way_a_viewer_does(datasets: list[Dataset]) -> None:
    # SUVbw = Bq/ml * weight in g / activity decayed to the series time (decay correction START).
    pet = [d for d in datasets if d.Modality == "PT"]
    middle = pet[SLICES // 2]
    item = middle.RadiopharmaceuticalInformationSequence[0]
    decayed_bq = float(item.RadionuclideTotalDose) * 2 ** (-3600 / float(item.RadionuclideHalfLife))
    bq_per_ml = middle.pixel_array * float(middle.RescaleSlope)
    suv = bq_per_ml * float(middle.PatientWeight) * 1000 / decayed_bq
    x = round((-60 - float(middle.ImagePositionPatient[0])) / float(middle.PixelSpacing[0]))
    y = round((0 - float(middle.ImagePositionPatient[1])) / float(middle.PixelSpacing[1]))
    assert 2.0 < suv[y - 2 : y + 3, x - 2 : x + 3].mean() < 2.8


def test_bed_positions_carry_their_own_time_and_decay_factor(datasets: list[Dataset]) -> None:
    pet = [d for d in datasets if d.Modality == "PT"]
    assert min(d.AcquisitionTime for d in pet) == pet[0].SeriesTime
    assert len({d.AcquisitionTime for d in pet}) == 6
    latest = max(pet, key=lambda d: str(d.AcquisitionTime))
    assert float(latest.DecayFactor) == pytest.approx(2 ** (float(latest.FrameReferenceTime) / 1000 / 6586.2), rel=1e-5)


def test_ct_and_pet_share_one_frame_of_reference_and_the_same_planes(datasets: list[Dataset]) -> None:
    by_modality = {m: [d for d in datasets if d.Modality == m] for m in ("CT", "PT")}
    assert len({d.FrameOfReferenceUID for images in by_modality.values() for d in images}) == 1
    planes = [[d.ImagePositionPatient[2] for d in images] for images in by_modality.values()]
    assert planes[0] == planes[1]


def test_the_dose_report_nets_measured_activity_to_what_the_images_say(study: SampleStudy, datasets: list[Dataset]) -> None:
    report = next(d for d in datasets if d.Modality == "SR")
    numbers = {
        item.ConceptNameCodeSequence[0].CodeValue: float(item.MeasuredValueSequence[0].NumericValue)
        for item in report.ContentSequence[1].ContentSequence
        if item.ValueType == "NUM"
    }
    left = 2 ** (-300 / 6586.2)
    assert numbers["113508"] * left - numbers["113509"] / left == pytest.approx(float(study.activity_mbq), abs=0.1)
    assert numbers["113507"] == float(study.activity_mbq)


def test_the_two_samples_are_two_patients_with_two_tracers(tmp_path: Path) -> None:
    fdg, dotatate = generate_samples(tmp_path, slices=6)
    assert fdg.patient != dotatate.patient
    assert fdg.study_instance_uid != dotatate.study_instance_uid
    assert {fdg.radiopharmaceutical, dotatate.radiopharmaceutical} == {"Fluorodeoxyglucose F^18^", "Dotatate Ga^68^"}
    assert not set(fdg.files) & set(dotatate.files)


def test_a_therapy_cycle_is_five_studies_that_tell_one_infusion_in_two_ways(tmp_path: Path) -> None:
    infusion, *scans = generate_cycle(tmp_path, slices=4)
    assert len({study.study_instance_uid for study in (infusion, *scans)}) == 5
    assert {study.administration_event_uid for study in scans} == {infusion.administration_event_uid}
    headers = [pydicom.dcmread(study.files[0]) for study in scans]
    told = {(h.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime, h.NumberOfFrames) for h in headers}
    assert told == {("20260303093600.000", 4)}
    assert [h.SeriesDescription for h in headers] == ["SPECT 4 h", "SPECT 24 h", "SPECT 72 h", "SPECT 168 h"]
    counts = [int(h.CountsAccumulated) for h in headers]
    assert counts == sorted(counts, reverse=True)
    assert all(int(h.pixel_array.sum()) == h.CountsAccumulated for h in headers)
    again = generate_cycle(tmp_path / "again", slices=4)
    assert [study.files[0].read_bytes() for study in again] == [study.files[0].read_bytes() for study in (infusion, *scans)]
