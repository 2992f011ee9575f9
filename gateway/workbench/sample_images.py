"""Writes the PET and CT slices of a sample case as DICOM data sets (PS3.3 A.21 PET Image, A.3 CT Image).

Pure: arrays in, data sets out. The header is that of a modern scanner: all times with their date, SNOMED CT codes, the
administration event UID, activity in Bq.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, PositronEmissionTomographyImageStorage

from gateway.workbench.phantom import FloatArray, Grid
from gateway.workbench.sample_case import Case, Code

#: Who issued the ids of the sample patients.
ISSUER = "ISOBRIDGE-SAMPLE"
INTRAVENOUS = Code(value="47625008", scheme="SCT", meaning="Intravenous route")
PROCEDURE = Code(value="241443006", scheme="SCT", meaning="PET study for localization of tumor")

RECUMBENT = Code(value="102538003", scheme="SCT", meaning="recumbent")
SUPINE = Code(value="40199007", scheme="SCT", meaning="supine")
HEAD_FIRST = Code(value="102540008", scheme="SCT", meaning="headfirst")


def common_header(case: Case, *, modality: str, series: str, series_number: int, started_at: dt.datetime) -> Dataset:
    """Patient, study, series and equipment (PS3.3 C.7.1 to C.7.5): the same in every object of a series."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.TimezoneOffsetFromUTC = f"{started_at:%z}"
    _write_patient(dataset, case)
    dataset.StudyInstanceUID = case.uid("study")
    dataset.StudyDate, dataset.StudyTime = da(case.study_at), tm(case.study_at)
    dataset.StudyID = "1"
    dataset.AccessionNumber = case.accession_number
    dataset.ReferringPhysicianName = "INVENTED^REFERRER"
    dataset.StudyDescription = case.tracer.study_description
    dataset.ProcedureCodeSequence = [PROCEDURE.item()]
    dataset.Modality = modality
    dataset.SeriesInstanceUID = case.uid(f"series/{series}")
    dataset.SeriesNumber = series_number
    dataset.SeriesDescription = series
    dataset.SeriesDate, dataset.SeriesTime = da(started_at), tm(started_at)
    dataset.Manufacturer = "Isobridge"
    dataset.ManufacturerModelName = "Numerical Phantom"
    dataset.DeviceSerialNumber = "SAMPLE-PETCT-1"
    dataset.SoftwareVersions = "1"
    dataset.StationName = "SAMPLEPETCT"
    dataset.InstitutionName = "Isobridge Sample Hospital"
    dataset.InstitutionalDepartmentName = "Nuclear Medicine"
    return dataset


def _write_patient(dataset: Dataset, case: Case) -> None:
    patient = case.patient
    dataset.PatientName = patient.name
    dataset.PatientID = patient.patient_id
    dataset.IssuerOfPatientID = ISSUER
    dataset.PatientBirthDate = f"{patient.birth_date:%Y%m%d}"
    dataset.PatientSex = patient.sex
    dataset.PatientAge = patient.age(case.study_at.date())
    dataset.PatientWeight = patient.weight_kg
    dataset.PatientSize = patient.size_m


def pet_slices(case: Case, grid: Grid, suv: FloatArray) -> Iterator[Dataset]:
    """One PET Image per slice, in Bq/ml, decay corrected to the start of the series."""
    for index in range(grid.slices):
        dataset = common_header(case, modality="PT", series="PET torso AC", series_number=2, started_at=case.pet_at)
        dataset.SOPClassUID = PositronEmissionTomographyImageStorage
        dataset.SOPInstanceUID = case.uid(f"pet/{index}")
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        _write_pet_series(dataset, case, grid)
        _write_pet_frame(dataset, case, index)
        _write_geometry(dataset, case, grid, index)
        activity_bq_per_ml = suv[index] * np.float32(case.bq_per_ml_per_suv)
        slope = f"{max(float(activity_bq_per_ml.max()), 1.0) / 32767:.8g}"
        dataset.RescaleIntercept, dataset.RescaleSlope = "0", slope
        _write_pixels(dataset, np.rint(activity_bq_per_ml / np.float32(slope)).astype("<i2"), signed=True)
        yield dataset


def _write_pet_series(dataset: Dataset, case: Case, grid: Grid) -> None:
    """PET Series (PS3.3 C.8.9.1) and PET Isotope (C.8.9.2)."""
    dataset.SeriesType = ["WHOLE BODY", "IMAGE"]
    dataset.Units = "BQML"
    dataset.CountsSource = "EMISSION"
    dataset.NumberOfSlices = grid.slices
    dataset.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "RADL", "DCAL", "NORM"]
    dataset.DecayCorrection = "START"
    dataset.RandomsCorrectionMethod = "DLYD"
    dataset.AttenuationCorrectionMethod = "CT measured"
    dataset.ScatterCorrectionMethod = "Model based"
    dataset.ReconstructionMethod = "OSEM 3i21s"
    dataset.ConvolutionKernel = "Gauss 5 mm"
    dataset.CollimatorType = "NONE"
    dataset.BodyPartExamined = "CHESTABDPELVIS"
    dataset.RadiopharmaceuticalInformationSequence = [administration_item(case)]
    # NM/PET Patient Orientation (PS3.3 C.8.4.6): on the back, head first. It takes the place of PatientPosition.
    lying = RECUMBENT.item()
    lying.PatientOrientationModifierCodeSequence = [SUPINE.item()]
    dataset.PatientOrientationCodeSequence = [lying]
    dataset.PatientGantryRelationshipCodeSequence = [HEAD_FIRST.item()]


def administration_item(case: Case) -> Dataset:
    """Radiopharmaceutical Information item (PS3.3 table C.8-61): activity in Bq at the start of administration."""
    tracer, start = case.tracer, case.administered_at
    stop = start + dt.timedelta(seconds=tracer.infusion_s)
    item = Dataset()
    item.Radiopharmaceutical = tracer.label
    item.RadiopharmaceuticalRoute = "Intravenous route"
    item.RadiopharmaceuticalVolume = f"{tracer.volume_ml}"
    item.RadiopharmaceuticalStartTime, item.RadiopharmaceuticalStopTime = tm(start), tm(stop)
    item.RadiopharmaceuticalStartDateTime, item.RadiopharmaceuticalStopDateTime = datetime_value(start), datetime_value(stop)
    item.RadionuclideTotalDose = f"{int(case.activity_mbq * 1_000_000)}"
    item.RadionuclideHalfLife = tracer.half_life_s
    item.RadionuclidePositronFraction = tracer.positron_fraction
    item.RadiopharmaceuticalAdministrationEventUID = case.uid("administration")
    item.RadionuclideCodeSequence = [tracer.nuclide.item()]
    item.RadiopharmaceuticalCodeSequence = [tracer.agent.item()]
    item.AdministrationRouteCodeSequence = [INTRAVENOUS.item()]
    return item


def _write_pet_frame(dataset: Dataset, case: Case, index: int) -> None:
    """PET Image (PS3.3 C.8.9.4): each slice carries the time of its bed position."""
    bed = case.bed_of(index)
    acquired_at = case.pet_at + dt.timedelta(seconds=bed * case.BED_S)
    dataset.AcquisitionDate, dataset.AcquisitionTime = da(acquired_at), tm(acquired_at)
    dataset.ContentDate, dataset.ContentTime = da(case.report_at), tm(case.report_at)
    dataset.ActualFrameDuration = case.BED_S * 1000
    dataset.FrameReferenceTime = f"{case.frame_reference_s(bed) * 1000:.3f}"
    dataset.DecayFactor = f"{case.bed_decay_factor(bed):.8g}"
    dataset.DoseCalibrationFactor = "1"
    dataset.ScatterFractionFactor = "0.35"
    dataset.ImageIndex = index + 1
    dataset.InstanceNumber = index + 1


def ct_slices(case: Case, grid: Grid, hounsfield: FloatArray) -> Iterator[Dataset]:
    """One CT Image per slice (PS3.3 C.8.2.1): the low-dose CT for attenuation correction."""
    for index in range(grid.slices):
        dataset = common_header(case, modality="CT", series="CT torso low dose", series_number=1, started_at=case.ct_at)
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = case.uid(f"ct/{index}")
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        acquired_at = case.ct_at + dt.timedelta(milliseconds=90 * index)
        dataset.AcquisitionDate, dataset.AcquisitionTime = da(acquired_at), tm(acquired_at)
        dataset.ContentDate, dataset.ContentTime = da(acquired_at), tm(acquired_at)
        dataset.AcquisitionNumber = 1
        dataset.InstanceNumber = index + 1
        dataset.BodyPartExamined = "CHESTABDPELVIS"
        dataset.PatientPosition = "HFS"
        dataset.KVP, dataset.XRayTubeCurrent, dataset.ExposureTime, dataset.Exposure = "120", 60, 500, 30
        dataset.ScanOptions = "HELICAL"
        dataset.ConvolutionKernel = "STANDARD"
        _write_geometry(dataset, case, grid, index)
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "-1024", "1", "HU"
        stored = np.clip(np.rint(hounsfield[index]) + 1024, 0, 4095).astype("<u2")
        _write_pixels(dataset, stored, signed=False, bits=12)
        yield dataset


def _write_geometry(dataset: Dataset, case: Case, grid: Grid, index: int) -> None:
    """Image Plane (PS3.3 C.7.6.2): both series lie in one frame of reference; z grows towards the head."""
    corner, z = grid.first_pixel_mm, -(index + 0.5) * grid.slice_mm
    dataset.FrameOfReferenceUID = case.uid("frame-of-reference")
    dataset.PositionReferenceIndicator = None
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [f"{corner:.6g}", f"{corner:.6g}", f"{z:.6g}"]
    dataset.SliceLocation = f"{z:.6g}"
    dataset.SliceThickness = f"{grid.slice_mm:.6g}"
    dataset.PixelSpacing = [f"{grid.pixel_mm:.7g}", f"{grid.pixel_mm:.7g}"]
    dataset.ReconstructionDiameter = f"{grid.pixel_mm * grid.pixels:.6g}"


def _write_pixels(
    dataset: Dataset, stored: np.ndarray[tuple[int, ...], np.dtype[np.generic]], *, signed: bool, bits: int = 16
) -> None:
    """Image Pixel (PS3.3 C.7.6.3): 16 bits allocated, one sample."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.LossyImageCompression = "00"
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"


def da(instant: dt.datetime) -> str:
    """DICOM DA."""
    return f"{instant:%Y%m%d}"


def tm(instant: dt.datetime) -> str:
    """DICOM TM with milliseconds."""
    return f"{instant:%H%M%S}.{instant.microsecond // 1000:03d}"


def datetime_value(instant: dt.datetime) -> str:
    """DICOM DT without offset: TimezoneOffsetFromUTC in the same object gives it (PS3.3 C.12.1.1)."""
    return da(instant) + tm(instant)
