"""Makes realistic, obviously invented PET/CT and SPECT studies for the demo, the self-test and the tests. No patient ever existed.

Each study holds a PET and a CT of the numerical torso and the Radiopharmaceutical Radiation Dose SR of the same administration;
the therapy cycle is five studies of one infusion. The same seed and day give the same bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from gateway.workbench import anatomy
from gateway.workbench.phantom import Grid, Part, ct_volume, pet_volume
from gateway.workbench.sample_case import (
    DEFAULT_DAY,
    DOTATATE,
    DOTATATE_PATIENT,
    FDG,
    FDG_PATIENT,
    ZONE,
    Case,
    SamplePatient,
    Tracer,
    sample_uid,
)
from gateway.workbench.sample_cycle import LUTATHERA, LUTATHERA_PATIENT, SCAN_HOURS, Infusion, scans, spect_image
from gateway.workbench.sample_images import ct_slices, pet_slices
from gateway.workbench.sample_report import administration_report

PET_PIXELS, PET_PIXEL_MM = 168, 4.07283
CT_PIXELS, CT_PIXEL_MM = 256, 1.953125
SPECT_PIXELS, SPECT_PIXEL_MM = 64, 9.5904

#: Names our files as ours; not bound to the release, so that a new release does not change the sample bytes.
IMPLEMENTATION_CLASS_UID = sample_uid(0, "implementation")
IMPLEMENTATION_VERSION_NAME = "ISOBRIDGE_SAMPLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStudy:
    """What was written, and what must come out of the gateway for it."""

    directory: Path
    files: tuple[Path, ...]
    patient: SamplePatient
    study_instance_uid: str
    accession_number: str
    radiopharmaceutical: str
    activity_mbq: Decimal
    administered_at: dt.datetime
    administration_event_uid: str
    instances_by_modality: tuple[tuple[str, int], ...]


def generate_sample(
    directory: Path,
    *,
    slices: int = 96,
    seed: int = 1,
    patient: SamplePatient = FDG_PATIENT,
    tracer: Tracer = FDG,
    activity_mbq: Decimal = Decimal("394.2"),
    day: dt.date = DEFAULT_DAY,
    start: dt.time = dt.time(9, 12, 30),
) -> SampleStudy:
    """Write one study of ``2 * slices + 1`` files under ``directory``; existing files are overwritten.

    ``start`` is the time of administration in Europe/Brussels. The whole torso is always imaged: fewer slices are thicker slices.
    """
    administered_at = dt.datetime.combine(day, start, tzinfo=ZONE)
    case = Case(
        seed=seed, patient=patient, tracer=tracer, activity_mbq=activity_mbq, administered_at=administered_at, slices=slices
    )
    body = body_of(patient, tracer)
    pet_grid = Grid(slices=slices, pixels=PET_PIXELS, pixel_mm=PET_PIXEL_MM)
    ct_grid = Grid(slices=slices, pixels=CT_PIXELS, pixel_mm=CT_PIXEL_MM)
    pet = pet_slices(case, pet_grid, pet_volume(pet_grid, body, tracer.suv, seed=seed))
    ct = ct_slices(case, ct_grid, ct_volume(ct_grid, (*anatomy.COUCH, *body), anatomy.HOUNSFIELD, seed=seed + 1))
    files = [
        *write_series(directory / "ct", "CT", ct),
        *write_series(directory / "pet", "PT", pet),
        *write_series(directory / "sr", "SR", [administration_report(case)]),
    ]
    return SampleStudy(
        directory=directory,
        files=tuple(files),
        patient=patient,
        study_instance_uid=case.uid("study"),
        accession_number=case.accession_number,
        radiopharmaceutical=tracer.agent.meaning,
        activity_mbq=activity_mbq,
        administered_at=administered_at,
        administration_event_uid=case.uid("administration"),
        instances_by_modality=(("CT", slices), ("PT", slices), ("SR", 1)),
    )


def generate_samples(directory: Path, *, slices: int = 96, day: dt.date = DEFAULT_DAY) -> tuple[SampleStudy, ...]:
    """Two studies of two invented patients: an FDG PET/CT, and a 68Ga-DOTATATE PET/CT of the same morning."""
    fdg = generate_sample(directory / "fdg", slices=slices, day=day)
    dotatate = generate_sample(
        directory / "dotatate",
        slices=slices,
        seed=2,
        patient=DOTATATE_PATIENT,
        tracer=DOTATATE,
        activity_mbq=Decimal("148.6"),
        day=day,
        start=dt.time(10, 41, 5),
    )
    return fdg, dotatate


def generate_cycle(directory: Path, *, slices: int = 32, seed: int = 30, day: dt.date = DEFAULT_DAY) -> tuple[SampleStudy, ...]:
    """A 177Lu-DOTATATE cycle that ends on ``day``: the dose report of the infusion, and four SPECT studies of one object each.

    Scanner and report tell of the one infusion with another start and another activity, and the scanner without event UID: what
    every returned study names is what must come out, the words of the report.
    """
    started = dt.datetime.combine(day - dt.timedelta(hours=max(SCAN_HOURS)), dt.time(9, 30), tzinfo=ZONE)
    infusion = Infusion(
        seed=seed,
        patient=LUTATHERA_PATIENT,
        tracer=LUTATHERA,
        activity_mbq=Decimal("7386.4"),
        administered_at=started,
        slices=slices,
    )
    grid = Grid(slices=slices, pixels=SPECT_PIXELS, pixel_mm=SPECT_PIXEL_MM)
    suv = pet_volume(grid, body_of(infusion.patient, infusion.tracer), infusion.tracer.suv, seed=seed)
    report = write_series(directory / "infusion", "SR", [administration_report(infusion)])
    studies = [cycle_study(directory / "infusion", infusion, infusion, report, "SR")]
    for scan in scans(infusion):
        folder = directory / f"spect-{scan.hours}h"
        studies.append(cycle_study(folder, infusion, scan, write_series(folder, "NM", [spect_image(scan, grid, suv)]), "NM"))
    return tuple(studies)


def cycle_study(directory: Path, infusion: Infusion, study: Case, files: list[Path], modality: str) -> SampleStudy:
    return SampleStudy(
        directory=directory,
        files=tuple(files),
        patient=infusion.patient,
        study_instance_uid=study.uid("study"),
        accession_number=study.accession_number,
        radiopharmaceutical=infusion.tracer.agent.meaning,
        activity_mbq=infusion.activity_mbq,
        administered_at=infusion.administered_at,
        administration_event_uid=infusion.uid("administration"),
        instances_by_modality=((modality, len(files)),),
    )


def body_of(patient: SamplePatient, tracer: Tracer) -> tuple[Part, ...]:
    """The organs of this patient with the lesions that this tracer shows."""
    organs = anatomy.ORGANS
    if patient.sex != "M":
        organs = tuple(part for part in organs if part.tissue != anatomy.Tissue.PROSTATE)
    return (*organs, *tracer.lesions)


def write_series(directory: Path, prefix: str, datasets: Iterable[Dataset]) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for number, dataset in enumerate(datasets, start=1):
        path = directory / f"{prefix}{number:04d}.dcm"
        write_part10(dataset, path)
        written.append(path)
    return written


def write_part10(dataset: Dataset, path: Path) -> None:
    """Write a DICOM file (PS3.10 section 7) in Explicit VR Little Endian, with our own implementation identity."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    dcmwrite(path, dataset, enforce_file_format=True, overwrite=True)
