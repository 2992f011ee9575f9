"""Small synthetic DICOM objects for tests. Every patient is invented.

Each builder takes overrides by keyword or by nested path::

    pet(PatientWeight="80", **{"RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose": "350"})

The value :data:`ABSENT` removes the element; ``None`` leaves it there, empty. A dict stands for a sequence item.
"""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, NuclearMedicineImageStorage, RTDoseStorage, RTStructureSetStorage

from gateway.workbench.phantom import Grid
from gateway.workbench.sample_case import FDG, Case, Code, SamplePatient, sample_uid
from gateway.workbench.sample_images import common_header, ct_slices, da, pet_slices, tm
from gateway.workbench.sample_report import administration_report

#: As an override: remove the element.
ABSENT: Final = object()

PATIENT = SamplePatient(
    patient_id="TEST-0001",
    name="TEST^INVENTED",
    sex="M",
    birth_date=dt.date(1970, 1, 2),
    weight_kg=Decimal("75"),
    size_m=Decimal("1.75"),
)

#: 350 MBq at 10:00, scan at 11:00 on the same day, winter time.
CASE = Case(
    seed=9000,
    patient=PATIENT,
    tracer=FDG,
    activity_mbq=Decimal("350"),
    administered_at=dt.datetime(2025, 3, 10, 10, 0, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    slices=6,
)
_GRID = Grid(slices=CASE.slices, pixels=8, pixel_mm=4.0)
_STEP = re.compile(r"(?P<keyword>\w+)(?:\[(?P<index>\d+)\])?")

TC99M = Code(value="72454006", scheme="SCT", meaning="^99m^Technetium")
MDP = Code(value="96390006", scheme="SCT", meaning="Medronate Tc^99m^")


def uid(name: str) -> str:
    """A valid UID that depends only on the name."""
    return sample_uid(CASE.seed, name)


def pet(**overrides: Any) -> Dataset:
    """One PET slice: FDG, 350 MBq stated in Bq, BQML, decay START, all codes in SNOMED CT."""
    dataset = next(pet_slices(CASE, _GRID, np.ones((CASE.slices, 8, 8), np.float32)))
    return with_overrides(dataset, overrides)


def pet_series(count: int, **overrides: Any) -> Iterator[Dataset]:
    """``count`` slices of one series, each with its own SOP Instance UID and number."""
    for index in range(count):
        number = {"SOPInstanceUID": uid(f"pet-series/{index}"), "InstanceNumber": index + 1, "ImageIndex": index + 1}
        yield pet(**(number | overrides))


def ct(**overrides: Any) -> Dataset:
    """One CT slice of the same study as :func:`pet`."""
    dataset = next(ct_slices(CASE, _GRID, np.zeros((CASE.slices, 8, 8), np.float32)))
    return with_overrides(dataset, overrides)


def nm(**overrides: Any) -> Dataset:
    """A whole-body bone scan, two frames (NM Image, PS3.3 A.5): 700 MBq stated in MBq, start time without a date."""
    dataset = common_header(CASE, modality="NM", series="Whole body bone", series_number=3, started_at=CASE.pet_at)
    dataset.StudyInstanceUID = uid("nm-study")
    dataset.SOPClassUID = NuclearMedicineImageStorage
    dataset.SOPInstanceUID = uid("nm/0")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "WHOLE BODY", "EMISSION"]
    dataset.AcquisitionDate, dataset.AcquisitionTime = da(CASE.pet_at), tm(CASE.pet_at)
    dataset.ContentDate, dataset.ContentTime = da(CASE.pet_at), tm(CASE.pet_at)
    dataset.InstanceNumber, dataset.NumberOfFrames = 1, 2
    dataset.FrameIncrementPointer = [Tag("EnergyWindowVector"), Tag("DetectorVector")]
    dataset.EnergyWindowVector, dataset.DetectorVector = [1, 1], [1, 2]
    dataset.NumberOfEnergyWindows, dataset.NumberOfDetectors = 1, 2
    dataset.CountsAccumulated = 1_500_000
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.Rows, dataset.Columns = 16, 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = bytes(2 * 16 * 8 * 2)
    dataset["PixelData"].VR = "OW"
    item = Dataset()
    item.Radiopharmaceutical = "MDP"
    item.RadionuclideTotalDose = "700"
    item.RadiopharmaceuticalStartTime = "080000"
    item.RadionuclideCodeSequence = [TC99M.item()]
    item.RadiopharmaceuticalCodeSequence = [MDP.item()]
    dataset.RadiopharmaceuticalInformationSequence = [item]
    return with_overrides(dataset, overrides)


def rrdsr(**overrides: Any) -> Dataset:
    """A Radiopharmaceutical Radiation Dose SR of the same administration as :func:`pet`, with three organ doses."""
    return with_overrides(administration_report(CASE), overrides)


def rt_dose(**overrides: Any) -> Dataset:
    """A dose map of the case's study, with the histograms of two regions of :func:`structure_set`: numbers 1 and 2."""
    dataset = ct(
        SOPInstanceUID=uid("rtdose"), SeriesInstanceUID=uid("rtdose-series"), Modality="RTDOSE", SOPClassUID=RTDoseStorage
    )
    dataset.FrameOfReferenceUID = uid("frame")
    dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    dataset.DoseGridScaling = "0.000001"
    dataset.ReferencedStructureSetSequence = [
        _as_item({"ReferencedSOPClassUID": RTStructureSetStorage, "ReferencedSOPInstanceUID": uid("structures")})
    ]
    dataset.DVHSequence = [
        _as_item(histogram(1, mean="4.35564", volume="310")),
        _as_item(histogram(2, mean="0.52", volume="1510.5")),
    ]
    return with_overrides(dataset, overrides)


def histogram(number: int, *, mean: str, volume: str) -> dict[str, Any]:
    """An item of DVH Sequence (PS3.3 C.8.8.4): cumulative, cm3, two bins of 1 Gy."""
    return {
        "DVHType": "CUMULATIVE",
        "DoseUnits": "GY",
        "DoseType": "PHYSICAL",
        "DVHDoseScaling": "1",
        "DVHVolumeUnits": "CM3",
        "DVHNumberOfBins": "2",
        "DVHData": ["1", volume, "1", "0"],
        "DVHMinimumDose": "0.1",
        "DVHMaximumDose": "9.5",
        "DVHMeanDose": mean,
        "DVHReferencedROISequence": [{"DVHROIContributionType": "INCLUDED", "ReferencedROINumber": str(number)}],
    }


def structure_set(**overrides: Any) -> Dataset:
    """The structure set of :func:`rt_dose`: a left kidney and a region whose name no table knows."""
    dataset = ct(
        SOPInstanceUID=uid("structures"),
        SeriesInstanceUID=uid("structures-series"),
        Modality="RTSTRUCT",
        SOPClassUID=RTStructureSetStorage,
    )
    del dataset.PixelData
    names = {1: "Kidney L", 2: "VOI 7 (invented)"}
    dataset.StructureSetROISequence = [
        _as_item({"ROINumber": str(number), "ROIName": name, "ROIGenerationAlgorithm": "MANUAL"})
        for number, name in names.items()
    ]
    return with_overrides(dataset, overrides)


def with_overrides(dataset: Dataset, overrides: dict[str, Any]) -> Dataset:
    """Apply overrides in place; a path that does not exist is an error of the test."""
    for path, value in overrides.items():
        *parents, last = path.split(".")
        item = dataset
        for step in parents:
            match = _STEP.fullmatch(step)
            assert match is not None, f"not a path: {path}"
            item = item[match["keyword"]].value[int(match["index"] or 0)]
        if value is ABSENT:
            delattr(item, last)
        else:
            setattr(item, last, _as_value(value))
    return dataset


def _as_value(value: Any) -> Any:
    if isinstance(value, dict):
        return Sequence([_as_item(value)])
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return Sequence([_as_item(item) for item in value])
    return value


def _as_item(values: dict[str, Any]) -> Dataset:
    return with_overrides(Dataset(), values)


def part10(dataset: Dataset, *, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """The whole file: preamble, file meta, data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(uid("implementation"))
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def write(dataset: Dataset, path: Path, *, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Path:
    """Write the file and return its path; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part10(dataset, transfer_syntax_uid=transfer_syntax_uid))
    return path
