"""Who is scanned in a sample study, with what, and when: the invented facts from which images and report are written.

Pure: no files, no clock. Every UID comes from the seed, so that the same case always yields the same bytes.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset

from gateway.workbench.anatomy import DOTATATE_SUV, FDG_LESIONS, FDG_SUV, NET_LESIONS, Tissue
from gateway.workbench.phantom import Part

#: The day on which all sample patients are scanned, unless another is asked for.
DEFAULT_DAY = dt.date(2026, 3, 10)
ZONE = ZoneInfo("Europe/Brussels")

#: Name space of our name-based UUIDs; with the 2.25 root they are valid UIDs (PS3.5 B.2).
_NAMESPACE = uuid.UUID("6f4b3b0e-64d8-5a0f-9a0e-3e1f0b6b7c11")


def sample_uid(seed: int, name: str) -> str:
    """A UID under the 2.25 root that depends on nothing but the seed and the name."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{seed}/{name}').int}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A DICOM code triplet (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str

    def item(self) -> Dataset:
        item = Dataset()
        item.CodeValue = self.value
        item.CodingSchemeDesignator = self.scheme
        item.CodeMeaning = self.meaning
        return item


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePatient:
    """An invented person; the name says so."""

    patient_id: str
    name: str
    sex: str
    birth_date: dt.date
    weight_kg: Decimal
    size_m: Decimal

    def age(self, on: dt.date) -> str:
        """DICOM AS, e.g. ``064Y``."""
        had_birthday = (on.month, on.day) >= (self.birth_date.month, self.birth_date.day)
        return f"{on.year - self.birth_date.year - (not had_birthday):03d}Y"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracer:
    """A radiopharmaceutical, and what the phantom does with it."""

    label: str  #: what the scanner's console shows, (0018,0031)
    study_description: str
    agent: Code
    nuclide: Code
    half_life_s: Decimal
    positron_fraction: Decimal
    suv: Mapping[Tissue, float]
    lesions: tuple[Part, ...]
    #: Sample coefficients in mGy/MBq: site -> value. For show, not for patients.
    organ_dose_mgy_per_mbq: Mapping[Code, Decimal] = field(default_factory=dict)
    infusion_s: int = 20
    volume_ml: int = 5
    therapy: bool = False

    def decay(self, seconds: float) -> float:
        """The fraction of activity that is left after ``seconds``."""
        return math.exp(-math.log(2) * seconds / float(self.half_life_s))


BLADDER = Code(value="89837001", scheme="SCT", meaning="Bladder")
HEART = Code(value="80891009", scheme="SCT", meaning="Heart")
KIDNEY = Code(value="64033007", scheme="SCT", meaning="Kidney")
LIVER = Code(value="10200004", scheme="SCT", meaning="Liver")
SPLEEN = Code(value="78961009", scheme="SCT", meaning="Spleen")

FDG = Tracer(
    label="Fluorodeoxyglucose",
    study_description="PET/CT torso 18F-FDG",
    agent=Code(value="35321007", scheme="SCT", meaning="Fluorodeoxyglucose F^18^"),
    nuclide=Code(value="77004003", scheme="SCT", meaning="^18^Fluorine"),
    half_life_s=Decimal("6586.2"),
    positron_fraction=Decimal("0.967"),
    suv=FDG_SUV,
    lesions=FDG_LESIONS,
    organ_dose_mgy_per_mbq={BLADDER: Decimal("0.13"), HEART: Decimal("0.067"), LIVER: Decimal("0.021")},
)

DOTATATE = Tracer(
    label="DOTATATE",
    study_description="PET/CT torso 68Ga-DOTATATE",
    agent=Code(value="724025002", scheme="SCT", meaning="Dotatate Ga^68^"),
    nuclide=Code(value="35337001", scheme="SCT", meaning="^68^Gallium"),
    half_life_s=Decimal("4062.6"),
    positron_fraction=Decimal("0.889"),
    suv=DOTATATE_SUV,
    lesions=NET_LESIONS,
    organ_dose_mgy_per_mbq={SPLEEN: Decimal("0.28"), KIDNEY: Decimal("0.092"), LIVER: Decimal("0.045")},
)

FDG_PATIENT = SamplePatient(
    patient_id="SAMPLE-0001",
    name="SAMPLE^FDG",
    sex="M",
    birth_date=dt.date(1961, 4, 12),
    weight_kg=Decimal("75"),
    size_m=Decimal("1.75"),
)

DOTATATE_PATIENT = SamplePatient(
    patient_id="SAMPLE-0002",
    name="SAMPLE^DOTATATE",
    sex="F",
    birth_date=dt.date(1958, 9, 3),
    weight_kg=Decimal("62"),
    size_m=Decimal("1.66"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One study of one patient: everything that images and report share."""

    seed: int
    patient: SamplePatient
    tracer: Tracer
    activity_mbq: Decimal  #: net administered activity at ``administered_at``
    administered_at: dt.datetime  #: aware, scanner's zone
    slices: int

    UPTAKE_S = 3600  #: from administration to the first bed position
    BEDS = 6
    BED_S = 150  #: acquisition time per bed position

    def uid(self, name: str) -> str:
        return sample_uid(self.seed, name)

    @property
    def accession_number(self) -> str:
        return f"SMP{self.administered_at:%y%m%d}{self.seed % 1000:03d}"

    @property
    def study_at(self) -> dt.datetime:
        """When the patient came into the scanner room: shortly before the CT."""
        return self.pet_at - dt.timedelta(minutes=4)

    @property
    def ct_at(self) -> dt.datetime:
        return self.pet_at - dt.timedelta(minutes=2)

    @property
    def pet_at(self) -> dt.datetime:
        """Start of the first bed position, to which the images are decay corrected (DecayCorrection START)."""
        return self.administered_at + dt.timedelta(seconds=self.UPTAKE_S)

    @property
    def report_at(self) -> dt.datetime:
        return self.pet_at + dt.timedelta(seconds=self.BEDS * self.BED_S + 300)

    @property
    def bq_per_ml_per_suv(self) -> float:
        """What one SUV (body weight) is in Bq/ml in these images: decayed activity per gram of patient."""
        activity_bq = float(self.activity_mbq) * 1e6 * self.tracer.decay(self.UPTAKE_S)
        return activity_bq / (float(self.patient.weight_kg) * 1000)

    def bed_of(self, slice_index: int) -> int:
        """Bed positions run from the thighs upwards, so that the bladder is still small; slice 0 is at the chin."""
        return (self.slices - 1 - slice_index) * self.BEDS // self.slices

    def frame_reference_s(self, bed: int) -> float:
        """The instant in the frame at which the true decaying activity equals its mean over the frame (PS3.3 C.8.9.4.1.5)."""
        rate = math.log(2) / float(self.tracer.half_life_s)
        middle = math.log(rate * self.BED_S / -math.expm1(-rate * self.BED_S)) / rate
        return bed * self.BED_S + middle

    def bed_decay_factor(self, bed: int) -> float:
        """DecayFactor (0054,1321): by which the counts of this bed were multiplied."""
        return 1.0 / self.tracer.decay(self.frame_reference_s(bed))
