"""One example of each profile, rendered through the shipped templates from an invented record: what the guide pages show is real."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.dossier import gather_dossier
from gateway.gather.study import Member, gather_study
from gateway.mapping.language import load
from gateway.model import DeclaredCycles, JsonObject, SharedFields
from gateway.nuclear.results import DCM, KINDS, SCT, expected
from gateway.r4.bundles import resources_of

_KIDNEY = {"system": SCT, "code": "64033007", "text": "Kidney"}
_LEFT = {"system": SCT, "code": "7771000", "text": "Left"}
_NUMBERS = {
    "organ-absorbed-dose": "4.36", "equivalent-dose": "45.5", "effective-dose": "6.65", "absorbed-dose-coefficient": "0.605",
    "effective-dose-coefficient": "0.019", "time-integrated-activity": "15892.73", "time-integrated-activity-coefficient": "2.20732",
    "effective-half-life": "51.0", "biological-half-life": "78.1", "bed": "4.75", "eqd2": "2.64", "dvh-parameter": "3.9",
    "dose-rate": "20", "uptake": "2.8", "retention": "40", "residual-activity": "6.3", "lung-shunt-fraction": "4.2",
    "treated-volume": "310", "tumour-to-normal-ratio": "6.1",
}  # fmt: skip
_DAYS = ("2025-04-07T09:30:00+02:00", "2025-06-02T09:30:00+02:00")


@lru_cache(maxsize=1)
def examples(mappings: Path) -> dict[str, JsonObject]:
    """Profile name -> an Observation that claims it. ``mappings``: the folder of the shipped ones."""
    loaded = load(mappings)
    renderer = Renderer(loaded, Identity(b"the key of the examples, 32 bytes"), accession_system="urn:example:accession")
    records = [_record(number, day) for number, day in enumerate(_DAYS)]
    known = gather_dossier("urn:example|EXAMPLE", records, known={}, mint=renderer.mint)
    cycles = tuple(item.key for item in known.administrations)
    declared = DeclaredCycles(
        id=1,
        administrations=cycles,
        region="Kidney",
        reason="All cycles were given",
        decided_by="A physicist",
        decided_at=1750000000.0,
    )
    dossier = gather_dossier("urn:example|EXAMPLE", records, known={}, mint=renderer.mint, declared=[declared])
    made = resources_of(renderer.dossier(dossier, recorded="2025-06-20T12:00:00Z").body)
    study = gather_study("2.25.400", [Member(member_id=1, patient_key="urn:example|EXAMPLE", shared=_pet(), instance=_SLICE)])
    patient = {"key": "urn:example|EXAMPLE", **_pet().patient}
    made += resources_of(renderer.study(study, patient, recorded="2025-06-20T12:00:00Z").body)
    found: dict[str, JsonObject] = {}
    for resource in made:
        for url in resource.get("meta", {}).get("profile", ()):
            found.setdefault(url.rpartition("/")[2], resource)
    return found


#: One slice, acquired an hour after the injection.
_SLICE: JsonObject = {
    "uid": "2.25.402",
    "sop_class": "1.2.840.10008.5.1.4.1.1.128",
    "pet": {"acquired_at": "2025-03-10T11:00:00+01:00"},
}


def _pet() -> SharedFields:
    """An FDG PET series with all that an SUV factor needs: 350 MBq an hour before, 75 kg, 1.75 m."""
    pet = {
        "units": "BQML",
        "decay_correction": "START",
        "corrections": ["DECY", "ATTN"],
        "patient_weight": {"value": Decimal(75), "unit": "kg"},
        "patient_size": {"value": Decimal("1.75"), "unit": "m"},
    }
    return SharedFields(
        key="example-pet",
        mapping="pet_image",
        mapping_version="1",
        patient={"id": "EXAMPLE", "id_system": "urn:example", "gender": "male"},
        study={"uid": "2.25.400"},
        series={"uid": "2.25.401", "modality": "PT", "started": "2025-03-10T11:00:00+01:00", "pet": pet},
        device={},
        administrations=(
            {
                "started_at": "2025-03-10T10:00:00+01:00",
                "activity": {"value": Decimal(350), "unit": "MBq"},
                "half_life": {"value": Decimal("6586.2"), "unit": "s"},
            },
        ),
    )


def _record(number: int, day: str) -> SharedFields:
    results = [_result(kind, number) for kind in KINDS if kind in _NUMBERS]
    points = [
        {"time": {"value": hours, "unit": "h"}, "activity": {"value": Decimal(activity), "unit": "MBq"}}
        for hours, activity in ((4, "204.57"), (24, "155.88"), (72, "81.18"), (192, "15.89"))
    ]
    common = {"of_administration": 0, "region": _KIDNEY, "laterality": _LEFT, "group": "left kidney"}
    results.append(
        {**common, "kind": "time-activity-curve", "points": points, "fit": {"model": "mono-exponential", "r2": Decimal("0.998")}}
    )
    dvh = {
        "type": "CUMULATIVE",
        "bins": 2,
        "dose_unit": "GY",
        "dose_widths": "1 0.5",
        "volume_unit": "CM3",
        "volumes": "310 155.5",
    }
    results.append({**common, "kind": "dose-volume-histogram", "dvh": dvh})
    results.append(
        {"of_administration": 0, "kind": "dose-grid", "grid": {"units": "GY", "type": "PHYSICAL", "summation": "PLAN"}}
    )
    code = {"system": DCM, "code": "126401", "text": "SUVbw"}
    suv = {"value": Decimal("12.3"), "unit": "g/ml{SUVbw}"}
    results.append({"of_administration": 0, "kind": "measurement", "code": code, "value": suv, "at": day, "region": _KIDNEY})
    return SharedFields(
        key=f"example-{number}",
        mapping="dosimetry",
        mapping_version="1",
        patient={"id": "EXAMPLE", "id_system": "urn:example"},
        study={"uid": f"2.25.10{number}"},
        series={},
        device={},
        administrations=(
            {
                "event_uid": f"2.25.20{number}",
                "started_at": day,
                "activity": {"value": Decimal(7200 + number), "unit": "MBq"},
                "agent": {"system": SCT, "code": "781259000", "text": "Dotatate Lu-177"},
                "radionuclide": {"system": SCT, "code": "447553000", "text": "Lu-177"},
                "route": {"system": SCT, "code": "47625008", "text": "Intravenous route"},
            },
        ),
        document={"uid": f"2.25.30{number}", "verification": "VERIFIED", "study_uid": f"2.25.10{number}", "created_at": day},
        results=tuple(results),
    )


def _result(kind: str, number: int) -> JsonObject:
    """Everything that a result of this kind needs, and for a dose all that is needed to judge it."""
    told: JsonObject = {
        "kind": kind,
        "of_administration": 0,
        "group": "left kidney",
        "value": {"value": Decimal(_NUMBERS[kind]), "unit": KINDS[kind].units[0]},
        "intent": "verified",
        "cycle": number + 1,
        "use": "diagnostic" if kind == "effective-dose" else "therapeutic",
    }
    if KINDS[kind].region:
        told |= {"region": _KIDNEY, "laterality": _LEFT, "target_definition": "whole-organ"}
    if expected(kind):
        told |= {
            "method": {"text": "Organ-level MIRD"},
            "software": {"name": "SW-X", "version": "3.1.0"},
            "calibration": "NEMA 2025",
        }
    if kind in ("bed", "eqd2"):
        told |= {
            "alpha_beta": {"value": Decimal("2.5"), "unit": "Gy"},
            "repair_half_time": {"value": Decimal("2.8"), "unit": "h"},
        }
    if kind == "dvh-parameter":
        told["parameter"] = {"name": "D", "value": 95}
    if KINDS[kind].timed:
        told["at"] = _DAYS[number]
    return told
