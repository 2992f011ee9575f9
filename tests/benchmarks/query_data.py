"""The holdings of a department as our gateway renders them, in any number: rendered once, then stamped with other patients, days, numbers.

A patient is one of two. *Diagnostic*: an FDG PET study, its administration, SUV factors, a report with SUV measurements of lesions.
*Therapy*: a Lu-177 SPECT study, its administration, a report with doses of organs. Nobody here ever lived.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.dossier import gather_dossier
from gateway.gather.study import Member, gather_study
from gateway.mapping.language import load
from gateway.model import JsonObject, SharedFields
from gateway.nuclear.results import DCM, SCT
from gateway.r4.bundles import resources_of
from gateway.r4.canonical import decode, encode

MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
PATIENT_SYSTEM = "urn:example:hospital"
LARGE_STUDY, SMALL_STUDY = 500, 20  #: instances
FIRST_DAY = dt.date(2024, 1, 1)
DAYS = 900  #: over so many days the studies are spread
SCANNERS = 5

_ORGANS = (
    ("64033007", "Kidney"), ("10200004", "Liver"), ("78961009", "Spleen"), ("14016003", "Bone marrow"), ("15497006", "Ovary"),
    ("89837001", "Urinary bladder"), ("80891009", "Heart"), ("39607008", "Lung"), ("181422007", "Salivary gland"), ("279456006", "Body"),
)  # fmt: skip
_KINDS = (
    ("organ-absorbed-dose", "4.36", "Gy"), ("absorbed-dose-coefficient", "0.605", "mGy/MBq"),
    ("time-integrated-activity", "15892.73", "MBq.h"), ("time-integrated-activity-coefficient", "2.20732", "h"),
    ("effective-half-life", "51.0", "h"),
)  # fmt: skip
_LESIONS = 45
_KEY, _DAY, _RECORDED = f"{PATIENT_SYSTEM}|PATIENT0", "2025-03-10", "2025-03-11T06:00:00.000+00:00"
_SUV = ({"system": DCM, "code": "126401", "text": "SUVbw"}, "g/ml{SUVbw}")
_SHARED = frozenset({"Device", "Medication", "Endpoint"})
_SLOT = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # a resource id
    r"|2\.25\.90\.\d+(?:\.\d+)?"  # a DICOM UID
    r"|\d{4}-\d\d-\d\d(?=T)|PATIENT0|ACC0"
    r'|(?<="value":)\d+\.\d+(?=,"unit")'
)


@dataclass(frozen=True, slots=True)
class Person:
    """One patient, as JSON: what his gateway sends about his study, and about the facts of him."""

    number: int
    instances: int
    study: bytes
    dossier: bytes

    @property
    def id(self) -> str:
        return f"PATIENT-{self.number:05d}"

    @property
    def accession(self) -> str:
        return f"ACC-{self.number:05d}"

    @property
    def is_therapy(self) -> bool:
        return self.number % 2 == 1

    @property
    def day(self) -> dt.date:
        return _day_of(self.number)

    def uid(self, part: str) -> str:
        """``1`` is the study, ``2`` the series, ``3.7`` its seventh instance."""
        return _uid(self.number, part)


def people(count: int, large: int) -> Iterator[Person]:
    """``count`` patients with a study each, of which ``large`` have five hundred instances, evenly spread."""
    stamps = {(therapy, size): _Stamp(therapy, size) for therapy in (False, True) for size in (LARGE_STUDY, SMALL_STUDY)}
    for number in range(count):
        size = LARGE_STUDY if number * large // count != (number + 1) * large // count else SMALL_STUDY
        yield stamps[number % 2 == 1, size].person(number)


class _Stamp:
    """One rendered patient, cut at everything that differs from patient to patient."""

    def __init__(self, therapy: bool, instances: int) -> None:
        study, dossier = _rendered(therapy, instances)
        shared = [f"{one['resourceType']}/{one['id']}" for one in (*resources_of(study), *resources_of(dossier))]
        self._shared = frozenset(name.partition("/")[2] for name in shared if name.partition("/")[0] in _SHARED)
        self._instances = instances
        self._texts = [_cut(encode(bundle).decode()) for bundle in (study, dossier)]

    def person(self, number: int) -> Person:
        filled: dict[str, str] = {}
        study, dossier = (self._filled(literals, slots, number, filled) for literals, slots in self._texts)
        return Person(number, self._instances, study, dossier)

    def _filled(self, literals: list[str], slots: list[str], number: int, filled: dict[str, str]) -> bytes:
        pieces = [literals[0]]
        for slot, literal in zip(slots, literals[1:], strict=True):
            if slot not in filled:
                filled[slot] = self._value(slot, number)
            pieces += (filled[slot], literal)
        return "".join(pieces).encode()

    def _value(self, slot: str, number: int) -> str:
        if slot in ("PATIENT0", "ACC0"):
            return f"{slot[:-1]}-{number:05d}"
        if slot.startswith("2.25."):
            return _uid(number, slot.removeprefix("2.25.90."))
        if re.fullmatch(r"\d+\.\d+", slot):
            value = Decimal(slot)
            share = Decimal(int(hashlib.md5(f"{number}/{slot}".encode(), usedforsecurity=False).hexdigest()[:4], 16)) / 65536
            return str((value * (share + Decimal("0.5"))).quantize(value) or value)
        if len(slot) == 10:
            return str(_day_of(number) + (dt.date.fromisoformat(slot) - dt.date.fromisoformat(_DAY)))
        owner = f"shared-{number % SCANNERS}" if slot in self._shared else str(number)
        digest = hashlib.md5(f"{owner}/{slot}".encode(), usedforsecurity=False).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:]}"


def _cut(text: str) -> tuple[list[str], list[str]]:
    return _SLOT.split(text), _SLOT.findall(text)


def _uid(number: int, part: str) -> str:
    """As a scanner numbers them: its own root, a counter of studies, a counter within the study."""
    return f"1.2.826.0.1.3680043.10.1999.{number % SCANNERS + 1}.{20240000000 + number}.{part}"


def _day_of(number: int) -> dt.date:
    return FIRST_DAY + dt.timedelta(days=number * 7919 % DAYS)


def _rendered(therapy: bool, instances: int) -> tuple[JsonObject, JsonObject]:
    renderer = Renderer(load(MAPPINGS), Identity(b"the key of the benchmark, 32 byte"), accession_system="urn:example:accession")
    image = _spect() if therapy else _pet()
    fields = {"sop_class": "1.2.840.10008.5.1.4.1.1.20" if therapy else "1.2.840.10008.5.1.4.1.1.128"}
    members = [
        Member(
            member_id=number,
            patient_key=_KEY,
            shared=image,
            instance={
                **fields,
                "uid": f"2.25.90.3.{number}",
                "number": number,
                "title": "ORIGINAL\\PRIMARY",
                "pet": {"acquired_at": f"{_DAY}T11:00:00+01:00"},
            },
        )
        for number in range(1, instances + 1)
    ]
    study = renderer.study(gather_study("2.25.90.1", members), {"key": _KEY, **image.patient}, recorded=_RECORDED)
    records = [image, _report(therapy)]
    dossier = gather_dossier(_KEY, records, known={}, mint=renderer.mint)
    return study.body, renderer.dossier(dossier, recorded=_RECORDED).body


def _common(key: str, mapping: str) -> dict[str, object]:
    return {
        "key": key,
        "mapping": mapping,
        "mapping_version": "1",
        "patient": {
            "id": "PATIENT0",
            "id_system": PATIENT_SYSTEM,
            "gender": "female",
            "birth_date": "1961-07-05",
            "name": {"family": "PATIENT0", "given": ["Invented"], "text": "Invented PATIENT0"},
        },
        "study": {"uid": "2.25.90.1", "started": f"{_DAY}T10:45:00+01:00", "accession": "ACC0", "description": "NM study"},
    }


def _pet() -> SharedFields:
    pet = {
        "units": "BQML",
        "decay_correction": "START",
        "corrections": ["DECY", "ATTN", "SCAT"],
        "patient_weight": {"value": Decimal("75.5"), "unit": "kg"},
        "patient_size": {"value": Decimal("1.75"), "unit": "m"},
    }
    series = {"uid": "2.25.90.2", "number": 4, "modality": "PT", "started": f"{_DAY}T11:00:00+01:00", "pet": pet}
    fdg = _administration(Decimal("310.5"), "6586.2", ("35321007", "Fluorodeoxyglucose F^18^"), ("77004003", "^18^Fluorine"))
    device = {"manufacturer": "Invented Scanners", "model": "PET One", "serial": "0001", "modality": "PT"}
    return SharedFields(**_common("pet", "pet_image"), series=series, device=device, administrations=(fdg,))  # type: ignore[arg-type]


def _spect() -> SharedFields:
    series = {
        "uid": "2.25.90.2",
        "number": 2,
        "modality": "NM",
        "started": f"{_DAY}T11:00:00+01:00",
        "nm": {"type": "RECON TOMO"},
    }
    device = {"manufacturer": "Invented Scanners", "model": "SPECT Two", "serial": "0002", "modality": "NM"}
    shared = _common("spect", "nm_spect")
    return SharedFields(**shared, series=series, device=device, administrations=(_lutetium(),))  # type: ignore[arg-type]


def _lutetium() -> JsonObject:
    return _administration(Decimal("7412.5"), "574300.8", ("781259000", "Dotatate Lu-177"), ("447553000", "Lu-177"))


def _administration(activity: Decimal, half_life: str, agent: tuple[str, str], nuclide: tuple[str, str]) -> JsonObject:
    return {
        "event_uid": "2.25.90.5",
        "started_at": f"{_DAY}T10:00:00+01:00",
        "activity": {"value": activity, "unit": "MBq"},
        "half_life": {"value": Decimal(half_life), "unit": "s"},
        "agent": {"system": SCT, "code": agent[0], "text": agent[1]},
        "radionuclide": {"system": SCT, "code": nuclide[0], "text": nuclide[1]},
        "route": {"system": SCT, "code": "47625008", "text": "Intravenous route"},
    }


def _report(therapy: bool) -> SharedFields:
    document = {"uid": "2.25.90.4", "verification": "VERIFIED", "study_uid": "2.25.90.1", "created_at": f"{_DAY}T15:00:00+01:00"}
    given = (_lutetium(),) if therapy else _pet().administrations
    results = tuple(_doses() if therapy else _lesions())
    shared = _common("report", "dosimetry")
    return SharedFields(**shared, series={}, device={}, administrations=given, document=document, results=results)  # type: ignore[arg-type]


def _doses() -> Iterator[JsonObject]:
    for rank, (code, organ) in enumerate(_ORGANS, start=1):
        for kind, value, unit in _KINDS:
            number = Decimal(value)
            yield {
                "kind": kind,
                "of_administration": 0,
                "group": organ,
                "value": {"value": (number * rank / 5).quantize(number), "unit": unit},
                "region": {"system": SCT, "code": code, "text": organ},
                "target_definition": "whole-organ",
                "intent": "verified",
                "cycle": 1,
                "use": "therapeutic",
                "method": {"text": "Organ-level MIRD"},
                "software": {"name": "Invented Dosimetry", "version": "3.1.0"},
                "calibration": "NEMA 2025",
            }


def _lesions() -> Iterator[JsonObject]:
    code, unit = _SUV
    for number in range(1, _LESIONS + 1):
        _, organ = _ORGANS[number % len(_ORGANS)]
        yield {
            "of_administration": 0,
            "kind": "measurement",
            "code": code,
            "group": f"lesion {number}",
            "value": {"value": Decimal(20 + 3 * number) / 10, "unit": unit},
            "at": f"{_DAY}T11:00:00+01:00",
            "region": {"system": SCT, "code": _ORGANS[number % len(_ORGANS)][0], "text": organ},
        }


def bundles(person: Person) -> tuple[JsonObject, JsonObject]:
    """What the publisher hands to a target for this patient: two transactions."""
    return decode(person.study), decode(person.dossier)
