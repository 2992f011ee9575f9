"""One cycle of a radionuclide therapy, invented: a dose report of the infusion, and four SPECT studies in the days after it.

What a hospital sends in real life: five Study Instance UIDs, the same 7.4 GBq in each scanner header, typed in from the console's
clock, and a report of the dose calibrator that says it a little differently. All of it is one administration.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import NuclearMedicineImageStorage

from gateway.workbench.anatomy import DOTATATE_SUV, NET_LESIONS
from gateway.workbench.phantom import FloatArray, Grid
from gateway.workbench.sample_case import KIDNEY, LIVER, SPLEEN, Case, Code, SamplePatient, Tracer
from gateway.workbench.sample_images import HEAD_FIRST, RECUMBENT, SUPINE, common_header, da, datetime_value, tm

#: Hours from the infusion to each scan.
SCAN_HOURS = (4, 24, 72, 168)
#: What the scanner's console was told: rounded activity, and a clock that is some minutes off.
CONSOLE_MBQ, CONSOLE_LATE_MIN = Decimal(7400), 6
#: Energy window around the 208 keV line of Lu-177, 20 % wide.
WINDOW_KEV = ("187.2", "228.8")
#: How fast the body clears the agent, beside the decay: biological half-life.
_CLEARANCE_H = 60

LUTATHERA = Tracer(
    label="Lutathera",
    study_description="SPECT torso 177Lu-DOTATATE",
    agent=Code(value="781259000", scheme="SCT", meaning="Dotatate Lu^177^"),
    nuclide=Code(value="447553000", scheme="SCT", meaning="^177^Lutetium"),
    half_life_s=Decimal("574300.8"),
    positron_fraction=Decimal(0),
    suv=DOTATATE_SUV,
    lesions=NET_LESIONS,
    organ_dose_mgy_per_mbq={KIDNEY: Decimal("0.62"), SPLEEN: Decimal("0.70"), LIVER: Decimal("0.08")},
    infusion_s=1800,
    volume_ml=25,
    therapy=True,
)

LUTATHERA_PATIENT = SamplePatient(
    patient_id="SAMPLE-0003",
    name="SAMPLE^LUTATHERA",
    sex="M",
    birth_date=dt.date(1955, 11, 20),
    weight_kg=Decimal("81"),
    size_m=Decimal("1.79"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Infusion(Case):
    """The therapy itself: a study of its own that holds nothing but the dose report."""

    @property
    def pet_at(self) -> dt.datetime:
        return self.administered_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Spect(Case):
    """One scan of the cycle. ``administered_at`` and ``activity_mbq`` are what its console was told."""

    hours: int

    @property
    def pet_at(self) -> dt.datetime:
        return self.administered_at + dt.timedelta(hours=self.hours)

    @property
    def counts_per_suv(self) -> float:
        """How bright a voxel of SUV 1 still is: decay and clearance since the infusion."""
        return 40.0 * self.tracer.decay(self.hours * 3600.0) * float(0.5 ** (self.hours / _CLEARANCE_H))


def spect_image(case: Spect, grid: Grid, suv: FloatArray) -> Dataset:
    """One reconstructed SPECT: NM Image, all slices as frames (PS3.3 A.5, C.8.4.8), activity in MBq."""
    dataset = common_header(case, modality="NM", series=f"SPECT {case.hours} h", series_number=1, started_at=case.pet_at)
    del dataset.ProcedureCodeSequence
    dataset.ManufacturerModelName, dataset.DeviceSerialNumber = "Numerical Gamma Camera", "SAMPLE-SPECT-1"
    dataset.StationName = "SAMPLESPECT"
    dataset.BodyPartExamined = "CHESTABDPELVIS"
    dataset.SOPClassUID, dataset.SOPInstanceUID = NuclearMedicineImageStorage, case.uid("spect/0")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    dataset.AcquisitionDate, dataset.AcquisitionTime = da(case.pet_at), tm(case.pet_at)
    dataset.ContentDate, dataset.ContentTime = da(case.pet_at), tm(case.pet_at)
    dataset.InstanceNumber, dataset.NumberOfFrames = 1, grid.slices
    dataset.FrameIncrementPointer = Tag("SliceVector")
    dataset.SliceVector, dataset.NumberOfSlices = list(range(1, grid.slices + 1)), grid.slices
    dataset.CorrectedImage = ["UNIF", "ATTN", "SCAT"]
    dataset.RadiopharmaceuticalInformationSequence = [_isotope(case)]
    _write_acquisition(dataset, grid)
    counts = np.rint(suv * np.float32(case.counts_per_suv)).clip(0, 65535).astype("<u2")
    dataset.CountsAccumulated = int(counts.sum())
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.Rows, dataset.Columns = counts.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelSpacing = [f"{grid.pixel_mm:.7g}", f"{grid.pixel_mm:.7g}"]
    dataset.PixelData = counts.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _isotope(case: Spect) -> Dataset:
    """Radiopharmaceutical Information item (PS3.3 C.8.4.10), with the date-time that newer cameras add; no event UID."""
    item = Dataset()
    item.Radiopharmaceutical = case.tracer.label
    item.RadiopharmaceuticalStartTime = tm(case.administered_at)
    item.RadiopharmaceuticalStartDateTime = datetime_value(case.administered_at)
    item.RadionuclideTotalDose = f"{case.activity_mbq}"
    item.RadionuclideCodeSequence = [case.tracer.nuclide.item()]
    item.RadiopharmaceuticalCodeSequence = [case.tracer.agent.item()]
    return item


def _write_acquisition(dataset: Dataset, grid: Grid) -> None:
    """Energy window, detectors, rotation and where the volume lies (PS3.3 C.8.4.6, C.8.4.11, C.8.4.12)."""
    low_high, window = Dataset(), Dataset()
    low_high.EnergyWindowLowerLimit, low_high.EnergyWindowUpperLimit = WINDOW_KEV
    window.EnergyWindowRangeSequence, window.EnergyWindowName = [low_high], "Lu177 208 keV"
    dataset.NumberOfEnergyWindows, dataset.EnergyWindowInformationSequence = 1, [window]
    detector = Dataset()
    detector.CollimatorType = "PARA"
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    corner = grid.first_pixel_mm
    detector.ImagePositionPatient = [f"{corner:.6g}", f"{corner:.6g}", f"{-grid.slice_mm / 2:.6g}"]
    dataset.NumberOfDetectors, dataset.DetectorInformationSequence = 1, [detector]
    rotation = Dataset()
    rotation.RotationDirection, rotation.ScanArc, rotation.StartAngle, rotation.AngularStep = "CW", "360", "0", "6"
    rotation.ActualFrameDuration, rotation.NumberOfFramesInRotation = 20000, 60
    dataset.NumberOfRotations, dataset.RotationInformationSequence = 1, [rotation]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = f"{grid.slice_mm:.6g}"
    lying = RECUMBENT.item()
    lying.PatientOrientationModifierCodeSequence = [SUPINE.item()]
    dataset.PatientOrientationCodeSequence = [lying]
    dataset.PatientGantryRelationshipCodeSequence = [HEAD_FIRST.item()]


def scans(infusion: Infusion) -> Iterator[Spect]:
    """The four scans after an infusion, each a study of its own."""
    told = infusion.administered_at + dt.timedelta(minutes=CONSOLE_LATE_MIN)
    for number, hours in enumerate(SCAN_HOURS, start=1):
        yield Spect(
            seed=infusion.seed + number,
            patient=infusion.patient,
            tracer=infusion.tracer,
            activity_mbq=CONSOLE_MBQ,
            administered_at=told,
            slices=infusion.slices,
            hours=hours,
        )
