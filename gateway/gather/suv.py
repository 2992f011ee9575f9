"""The SUV factor of a gathered PET series: what its records say -> :mod:`gateway.nuclear.suv` -> what is published.

Inputs are taken over the whole series: whether SeriesTime is the reference depends on the earliest acquisition. An input of which two
slices say different things counts as missing, with its own reason. Slopes are left to the images: they differ from slice to slice.

The result is a JSON tree at the series (``series.suv``), rendered by the template ``suv_factor`` of ``mappings/pet_image.yaml``. It depends
on the set of records alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from gateway.dicom.values import instant
from gateway.gather.choose import canonical
from gateway.model import JsonObject, SharedFields
from gateway.nuclear.body import Body, Sex, SuvType
from gateway.nuclear.decay import net_activity
from gateway.nuclear.results import CODE_SYSTEM
from gateway.nuclear.suv import MOST_HALF_LIVES, Reason, Scale, Scan, Tracer, rounded, scale
from gateway.nuclear.suv_time import Decay, Frame, Timing
from gateway.nuclear.units import convert

#: The code system of the reasons why there is no factor.
REASONS = CODE_SYSTEM.replace("nm-dosimetry", "nm-suv-reason")
_UCUM = "http://unitsofmeasure.org"
#: Type -> code of its factor, words, code of its concept in DICOM (PS3.16 CID 85).
FACTORS: dict[SuvType, tuple[str, str]] = {
    SuvType.BW: ("suv-scale-factor", "SUV factor by body weight"),
    SuvType.LBM: ("suv-scale-factor-lbm", "SUV factor by lean body mass (James, coefficient 120)"),
    SuvType.LBMJAMES128: ("suv-scale-factor-lbm-james128", "SUV factor by lean body mass (James, coefficient 128)"),
    SuvType.LBMJANMA: ("suv-scale-factor-lbm-janma", "SUV factor by lean body mass (Janmahasatian)"),
    SuvType.IBW: ("suv-scale-factor-ibw", "SUV factor by ideal body weight"),
    SuvType.BSA: ("suv-scale-factor-bsa", "SUV factor by body surface area (DuBois)"),
}
#: What each reason means, for people.
WORDS: dict[Reason, str] = {
    Reason.UNITS: "the unit of the voxels is unknown or holds no activity concentration",
    Reason.CORRECTION: "the voxels are not corrected for attenuation, or not for decay although that is claimed",
    Reason.DECAY: "the moment to which the voxels are corrected for decay cannot be told",
    Reason.DOSE: "there is no usable activity",
    Reason.HALF_LIFE: "there is no usable half-life",
    Reason.INJECTION_TIME: "there is no usable time of injection",
    Reason.WEIGHT: "there is no usable weight",
    Reason.SIZE: "there is no usable size",
    Reason.SEX: "the sex is unknown, or neither of the two that the formula knows",
    Reason.BODY_RANGE: "the patient is outside the people for whom the formula was made",
    Reason.MULTI_TRACER: "there are several radiopharmaceuticals, or accounts of one that differ",
    Reason.SUV_TYPE: "the voxels hold uptake of another type, or a factor of the vendor's; types are not converted",
    Reason.FRAMES: "there is no single factor: each frame has its own",
}
#: Reasons that tell of no lack: DataAbsentReason not-applicable.
_OF_NO_LACK = {Reason.FRAMES, Reason.SUV_TYPE}
#: Two accounts of one activity within this share agree.
_NET_TOLERANCE = Decimal("0.01")
_MISSING_IMAGES = "images that the series names"
_DECAY = {"START": Decay.START, "ADMIN": Decay.ADMIN, "NONE": Decay.NONE, "YES": Decay.STATED, "NO": Decay.NONE}
_ENHANCED = {"YES", "NO"}


@dataclass(frozen=True, slots=True)
class _Told:
    """What the records of one series say; a value that they do not agree on is absent."""

    shared: Sequence[SharedFields]
    instances: Sequence[JsonObject]

    def one(self, look: Callable[[SharedFields], Any]) -> Any:
        values = {canonical(value): value for shared in self.shared if (value := look(shared)) is not None}
        complete = all(look(shared) is not None for shared in self.shared)
        return next(iter(values.values())) if len(values) == 1 and complete else None

    def pet(self, name: str) -> Any:
        return self.one(lambda shared: shared.series.get("pet", {}).get(name))

    def of_tracer(self, name: str) -> Any:
        return self.one(lambda shared: shared.administrations[0].get(name) if shared.administrations else None)


def suv_factor(uid: str, shared: Iterable[SharedFields], instances: Sequence[JsonObject]) -> JsonObject:
    """The published content of one series; empty when it is no PET series. ``shared``: the distinct ones of its records."""
    told = _Told(sorted(shared, key=lambda item: item.key), instances)
    if not any(item.series.get("pet") for item in told.shared):
        return {}
    tracers, net = _tracers(told)
    body = _body(told)
    made = scale(_scan(told), tracers, body)
    return _compact(
        {
            "key": uid,
            "at": made.frames[0].acquired_at.isoformat() if made.frames else told.one(lambda one: one.series.get("started")),
            **_factors(made),
            "voxel_unit": _unit(made.voxel_unit),
            "inputs": _inputs(told, made, tracers, body),
            "repaired": any(_repaired(item) for item in told.shared) or None,
            "remarks": [*_remarks(told, made, tracers, net)],
        }
    )


# --- from records to arithmetic --------------------------------------------------------------------------------------------------


def _scan(told: _Told) -> Scan:
    corrections, decay = told.pet("corrections"), told.pet("decay_correction")
    if decay in _ENHANCED:  # Enhanced PET tells of each correction by itself
        attenuation, corrected = told.pet("attenuation_correction") == "YES", decay == "YES"
    else:
        attenuation, corrected = "ATTN" in (corrections or ()), "DECY" in (corrections or ())
    return Scan(
        units=told.pet("units"),
        suv_type=told.pet("suv_type"),
        attenuation_corrected=attenuation,
        decay_corrected=corrected,
        timing=Timing(
            decay=_DECAY.get(str(decay)),
            series_at=_moment(told.one(lambda shared: shared.series.get("started"))),
            stated_at=_moment(told.pet("decay_reference")),
            frames=frozenset(frame for instance in told.instances for frame in _frames(instance.get("pet") or {})),
        ),
        suv_per_count=_decimal(told.pet("suv_factor")),
        bqml_per_count=_decimal(told.pet("activity_concentration_factor")),
    )


def _frames(pet: JsonObject) -> Iterable[Frame]:
    """The timing of one image; of an enhanced one that of each frame."""
    for frame in pet.get("frames") or [pet]:
        yield Frame(
            acquired_at=_moment(frame.get("acquired_at")),
            duration_s=_in(frame.get("duration"), "s"),
            mean_offset_s=_in(frame.get("mean_offset"), "s"),
            start_offset_s=_in(frame.get("start_offset"), "s"),
        )


def _tracers(told: _Told) -> tuple[tuple[Tracer, ...], Decimal | None]:
    """As many as the records name, and the net activity (Bq) of the one where the syringe was measured before and after."""
    counts = {len(item.administrations) for item in told.shared}
    if counts != {1}:
        return tuple(Tracer() for _ in range(max(counts))), None
    names = ("activity", "half_life", "started_at")
    if any(told.of_tracer(name) is None and any(name in item.administrations[0] for item in told.shared) for name in names):
        return (Tracer(), Tracer()), None  # slices that contradict each other
    tracer = Tracer(
        activity_bq=_in(told.of_tracer("activity"), "Bq"),
        half_life_s=_in(told.of_tracer("half_life"), "s"),
        injected_at=_moment(told.of_tracer("started_at")),
    )
    net = _net(told, tracer)
    return (tracer if tracer.activity_bq is not None else replace(tracer, activity_bq=net),), net


def _net(told: _Told, tracer: Tracer) -> Decimal | None:
    """The syringe before minus after, each at its own moment (standards.md A.13 #5, B.3 #14). Needs all four and the injection."""
    before, after = _in(told.of_tracer("measured_before"), "Bq"), _in(told.of_tracer("measured_after"), "Bq")
    before_at, after_at = _moment(told.of_tracer("measured_before_at")), _moment(told.of_tracer("measured_after_at"))
    at, half_life = tracer.injected_at, tracer.half_life_s
    if before is None or after is None or before_at is None or after_at is None or at is None or not half_life:
        return None
    net = net_activity(
        before=before,
        before_s=Decimal(str((at - before_at).total_seconds())),
        residual=after,
        residual_s=Decimal(str((after_at - at).total_seconds())),
        half_life_s=half_life,
    )
    return rounded(net) if net > 0 and before_at <= at <= after_at else None


def _body(told: _Told) -> Body:
    sex = told.one(lambda shared: shared.patient.get("gender"))
    return Body(
        weight_kg=_in(told.pet("patient_weight"), "kg"),
        height_cm=_in(told.pet("patient_size"), "cm"),
        sex=Sex(sex) if sex in ("male", "female") else None,
    )


# --- from arithmetic to what is published ----------------------------------------------------------------------------------------


def _factors(made: Scale) -> JsonObject:
    types = [_type(kind, made) for kind in SuvType]
    main = types[0]
    return {
        "factor": main.get("factor"),
        "reasons": main.get("reasons"),
        "absent": main.get("absent"),
        "types": types[1:],
        "frames": [
            {
                "acquired_at": frame.acquired_at.isoformat(),
                "offset_ms": _milliseconds(frame.acquired_at - made.frames[0].acquired_at),
                "duration": {"value": frame.duration_s, "unit": "s"},
                "factor": {"value": frame.factor.value, "unit": frame.factor.unit},
            }
            for frame in made.frames
        ],
    }


def _type(kind: SuvType, made: Scale) -> JsonObject:
    code, text = FACTORS[kind]
    entry: JsonObject = {"code": {"system": CODE_SYSTEM, "code": code, "text": text}}
    if kind in made.factors:
        return entry | {"factor": {"value": made.factors[kind].value, "unit": made.factors[kind].unit}}
    reasons = made.refused[kind]
    absent = "not-applicable" if set(reasons) <= _OF_NO_LACK else "unknown"
    return entry | {"absent": absent, "reasons": [{"system": REASONS, "code": str(one), "text": WORDS[one]} for one in reasons]}


def _inputs(told: _Told, made: Scale, tracers: tuple[Tracer, ...], body: Body) -> JsonObject:
    tracer = tracers[0] if len(tracers) == 1 else Tracer()
    dose, sex = made.dose_at_reference_bq, body.sex
    return _compact(
        {
            "weight": told.pet("patient_weight"),
            "size": {"value": body.height_cm, "unit": "cm"} if body.height_cm else None,
            "sex": {"system": "http://hl7.org/fhir/administrative-gender", "code": str(sex), "text": str(sex)} if sex else None,
            "activity": {"value": convert(tracer.activity_bq, "Bq", "MBq"), "unit": "MBq"} if tracer.activity_bq else None,
            "activity_at_reference": {"value": rounded(dose.scaleb(-6)), "unit": "MBq"} if dose else None,
            "half_life": {"value": tracer.half_life_s, "unit": "s"} if tracer.half_life_s else None,
            "injected_at": told.of_tracer("started_at") if tracer.injected_at else None,
            "uptake_time": _uptake_time(told, tracer),
            "reference_at": made.reference.at.isoformat() if made.reference else None,
            "reference_from": str(made.reference.origin) if made.reference else None,
            "suv_type": told.pet("suv_type"),
            "decay_correction": told.pet("decay_correction"),
        }
    )


def _uptake_time(told: _Told, tracer: Tracer) -> JsonObject | None:
    """From the administration to the start of the scan, in h: the earliest acquisition of the series, else its own start.

    A dynamic scan that starts before its injection has none, nor has one so late that the times cannot belong together.
    """
    frames = [moment for one in told.instances for frame in _frames(one.get("pet") or {}) if (moment := frame.acquired_at)]
    started = min(frames, default=_moment(told.one(lambda shared: shared.series.get("started"))))
    if tracer.injected_at is None or started is None:
        return None
    seconds = Decimal((started - tracer.injected_at) // dt.timedelta(microseconds=1)).scaleb(-6)
    latest = (tracer.half_life_s or Decimal(0)) * MOST_HALF_LIVES
    return {"value": rounded(convert(seconds, "s", "h")), "unit": "h"} if 0 <= seconds <= latest else None


def _remarks(told: _Told, made: Scale, tracers: tuple[Tracer, ...], net: Decimal | None) -> Iterable[str]:
    """What a researcher must know beside the numbers."""
    for reason in made.refused.get(SuvType.BW, ()):
        yield f"No factor by body weight: {WORDS[reason]}."
    if made.from_vendor:
        yield "The factor is the vendor's own; weight, activity and times took no part."
    if net is not None and len(tracers) == 1 and tracers[0].activity_bq is not None:
        stated = told.of_tracer("activity")
        if stated is None:
            yield "The activity is the syringe's before minus after, as measured; the header states none that is usable."
        elif abs(net / tracers[0].activity_bq - 1) > _NET_TOLERANCE:
            yield "The syringe before minus after differs from the stated activity by more than 1 %; the stated one was taken."
    expected = _expected(told)
    if expected and expected > len(told.instances):
        yield f"Of {expected} {_MISSING_IMAGES} {len(told.instances)} are here; the factor may change with the others."


def is_of_missing_images(remark: str) -> bool:
    """True for the remark that fewer images are here than the series names."""
    return remark.startswith("Of ") and _MISSING_IMAGES in remark


def _expected(told: _Told) -> int | None:
    """How many images the series has by its own words (PS3.3 C.8.9.1: Number of Slices; of a dynamic series times Time Slices)."""
    kind, slices, times = str(told.pet("type") or ""), told.pet("slices"), told.pet("time_slices")
    if not slices or kind.startswith("GATED"):
        return None
    return int(slices) * int(times or 1) if kind.startswith("DYNAMIC") else int(slices)


def _repaired(shared: SharedFields) -> bool:
    names = ("activity_repaired", "started_at_repaired", "half_life_repaired")
    return any(item.get(name) for item in shared.administrations for name in names)


def _unit(unit: str | None) -> JsonObject | None:
    return {"system": _UCUM, "code": unit, "text": unit} if unit else None


def _moment(text: Any) -> dt.datetime | None:
    return instant(text) if isinstance(text, str) else None


def _in(quantity: Any, unit: str) -> Decimal | None:
    return convert(Decimal(quantity["value"]), quantity["unit"], unit) if isinstance(quantity, dict) else None


def _decimal(number: Any) -> Decimal | None:
    return Decimal(number) if isinstance(number, (Decimal, int)) and not isinstance(number, bool) else None


def _milliseconds(span: dt.timedelta) -> int:
    return span // dt.timedelta(milliseconds=1)


def _compact(tree: JsonObject) -> JsonObject:
    return {name: value for name, value in tree.items() if value not in (None, [], {})}
