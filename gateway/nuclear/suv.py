"""From activity concentration to standardised uptake: is it computable, and by which factor (standards.md B.1, B.2).

    uptake = (stored value * rescale slope + intercept) * factor

The factor of type BW is weight / activity left at the moment to which the voxels are corrected for decay, in (g/mL)/(voxel unit). The slope
belongs to the image, often to each slice, and is no part of it. Sources: QIBA FDG-PET profile, vendor-neutral pseudo-code; PS3.3 C.8.9.4.

Nothing is assumed. What the header does not say, or says twice and differently, is a reason, and there is no factor.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from enum import StrEnum

from gateway.nuclear.body import Body, Lacking, SuvType, normaliser
from gateway.nuclear.decay import activity_after
from gateway.nuclear.suv_time import Decay, Reference, Timing, references
from gateway.nuclear.units import plain

__all__ = ["Decay", "Factor", "Reason", "Scale", "Scan", "Tracer", "scale"]

_DIGITS = 34
#: Published digits: a hundred times finer than the tolerance of the reference vectors.
_ROUNDING = Context(prec=8)
#: No scan is later: a thousandth of the activity is left.
MOST_HALF_LIVES = 10
#: A dynamic scan starts before its injection, by minutes.
_LATEST_INJECTION_S = 3600
#: More frames that need a factor of their own are not listed.
MOST_FRAMES = 400


class Reason(StrEnum):
    """Why there is no factor."""

    UNITS = "units"  #: the unit of the voxels is unknown, or holds no concentration
    CORRECTION = "correction"  #: not corrected for attenuation, or for decay although that is claimed
    DECAY = "decay"  #: the moment to which the voxels are corrected for decay cannot be told
    DOSE = "dose"  #: no usable activity
    HALF_LIFE = "halfLife"
    INJECTION_TIME = "injectionTime"
    WEIGHT = "weight"
    SIZE = "size"
    SEX = "sex"
    BODY_RANGE = "bodyRange"  #: the patient is outside the people for whom the formula was made
    MULTI_TRACER = "multiTracer"  #: several radiopharmaceuticals, or accounts of one that differ
    SUV_TYPE = "suvType"  #: the voxels hold uptake of another type already, or of this one by a private factor
    FRAMES = "frames"  #: there is no single factor: the frames have one each


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracer:
    """One radiopharmaceutical as the header tells: activity in Bq at the injection, half-life in s."""

    activity_bq: Decimal | None = None
    half_life_s: Decimal | None = None
    injected_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """How the voxels of one series were made, as far as it tells."""

    units: str | None  #: Units (0054,1001), or UCUM as in functional groups
    suv_type: str | None = None  #: SUV Type (0054,1006)
    attenuation_corrected: bool = False
    decay_corrected: bool = False
    timing: Timing = field(default_factory=Timing)
    suv_per_count: Decimal | None = None  #: a vendor's own factor, for Units CNTS
    bqml_per_count: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One factor and its unit (UCUM)."""

    value: Decimal
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFactor:
    """The factor of type BW of the frames that started at one moment."""

    acquired_at: dt.datetime
    duration_s: Decimal
    factor: Factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What came of it. ``factors`` and ``refused`` together hold every type once."""

    voxel_unit: str | None  #: UCUM
    factors: dict[SuvType, Factor]
    refused: dict[SuvType, tuple[Reason, ...]]
    reference: Reference | None = None
    dose_at_reference_bq: Decimal | None = None
    frames: tuple[FrameFactor, ...] = ()
    from_vendor: bool = False  #: a factor of the vendor's, not ours

    @property
    def computable(self) -> bool:
        """Whether voxels can be made uptake values by what stands here."""
        return bool(self.factors or self.frames)


#: Units of the voxels -> what they hold: an activity concentration, or uptake of a type already.
_CONCENTRATION = {"BQML": "Bq/mL", "Bq/ml": "Bq/mL", "Bq/mL": "Bq/mL"}
_UPTAKE = {
    "g/ml{SUVbw}": SuvType.BW,
    "g/ml{SUVlbm}": SuvType.LBM,
    "g/ml{SUVlbm(James128)}": SuvType.LBMJAMES128,
    "g/ml{SUVlbm(Janma)}": SuvType.LBMJANMA,
    "g/ml{SUVibw}": SuvType.IBW,
    "cm2/ml{SUVbsa}": SuvType.BSA,
}
_COUNTS = "CNTS"
_MASSES = {"GML", "g/ml", "g/mL"}
_MASS_TYPES = frozenset(str(kind) for kind in SuvType if kind is not SuvType.BSA)


def scale(scan: Scan, tracers: tuple[Tracer, ...], body: Body) -> Scale:
    """The factors of a series, or the reasons why there are none."""
    uncorrected = _uncorrected(scan)
    uptake = _uptake(scan)
    if uptake is not None:
        unit = "cm2/mL" if uptake is SuvType.BSA else "g/mL"
        if uncorrected:
            return _refused(unit, uncorrected)
        return Scale(voxel_unit=unit, factors={uptake: Factor(value=Decimal(1), unit="1")}, refused=_others(uptake))
    if scan.units == _COUNTS and (scan.suv_per_count or 0) > 0:
        unit = "{counts}"
        if uncorrected:
            return _refused(unit, uncorrected)
        own = Factor(value=scan.suv_per_count or Decimal(0), unit="g/mL/{counts}")
        return Scale(voxel_unit=unit, factors={SuvType.BW: own}, refused=_others(SuvType.BW), from_vendor=True)
    return _from_activity(scan, tracers, body, uncorrected)


def _uptake(scan: Scan) -> SuvType | None:
    """The type of uptake that the voxels hold already."""
    if scan.units in _MASSES:
        stated = scan.suv_type or SuvType.BW  # PS3.3 C.8.9.1.1.7: absent means BW
        return SuvType(stated) if stated in _MASS_TYPES else None
    if scan.units == "CM2ML":
        return SuvType.BSA if scan.suv_type == SuvType.BSA else None
    return _UPTAKE.get(scan.units or "")


def _from_activity(scan: Scan, tracers: tuple[Tracer, ...], body: Body, uncorrected: tuple[Reason, ...]) -> Scale:
    """B.2, steps 2 to 6."""
    unit, per_voxel = _concentration(scan)
    tracer = tracers[0] if len(tracers) == 1 else Tracer()
    reasons = [*([Reason.UNITS] if unit is None else []), *uncorrected, *_dose_reasons(tracers)]
    found = references(scan.timing, tracer.half_life_s, tracer.injected_at)
    if not found and not {Reason.HALF_LIFE, Reason.INJECTION_TIME, Reason.MULTI_TRACER} & set(reasons):
        reasons.append(Reason.DECAY)
    if any(_implausible(at.at, tracer) for at in found):
        reasons.append(Reason.INJECTION_TIME)
    if reasons or unit is None or per_voxel is None:
        return _refused(unit, tuple(dict.fromkeys(reasons)), body)
    if len(found) > 1:
        return _per_frame(unit, per_voxel, found, tracer, body)
    dose = _dose(tracer, found[0])
    whole = {kind: _factor(kind, body, dose, per_voxel, unit) for kind in SuvType}
    return Scale(
        voxel_unit=unit,
        factors={kind: made for kind, made in whole.items() if isinstance(made, Factor)},
        refused={kind: made for kind, made in whole.items() if not isinstance(made, Factor)},
        reference=found[0],
        dose_at_reference_bq=rounded(dose),
    )


def _concentration(scan: Scan) -> tuple[str | None, Decimal | None]:
    """The unit of the voxels, and how many Bq/mL one unit is."""
    if scan.units == _COUNTS:
        usable = scan.bqml_per_count is not None and scan.bqml_per_count > 0
        return ("{counts}", scan.bqml_per_count) if usable else (None, None)
    unit = _CONCENTRATION.get(scan.units or "")
    return (unit, Decimal(1)) if unit else (None, None)


def _uncorrected(scan: Scan) -> tuple[Reason, ...]:
    """Attenuation always; decay where it is claimed. Corrected for decay with DecayCorrection NONE contradicts itself."""
    decay = scan.timing.decay
    if decay is None:
        return (Reason.DECAY,) if scan.attenuation_corrected else (Reason.CORRECTION, Reason.DECAY)
    if decay is Decay.NONE and scan.decay_corrected:
        return (Reason.DECAY,)
    missing = not scan.attenuation_corrected or (decay is not Decay.NONE and not scan.decay_corrected)
    return (Reason.CORRECTION,) if missing else ()


def _dose_reasons(tracers: tuple[Tracer, ...]) -> list[Reason]:
    if len(tracers) > 1:
        return [Reason.MULTI_TRACER]
    tracer = tracers[0] if tracers else Tracer()
    present = {
        Reason.DOSE: tracer.activity_bq is not None and tracer.activity_bq > 0,
        Reason.HALF_LIFE: tracer.half_life_s is not None and tracer.half_life_s > 0,
        Reason.INJECTION_TIME: tracer.injected_at is not None,
    }
    return [reason for reason, there in present.items() if not there]


def _implausible(at: dt.datetime, tracer: Tracer) -> bool:
    """The injection lies long after the scan, or so long before it that nothing could be left."""
    if tracer.injected_at is None or tracer.half_life_s is None:
        return False
    elapsed = _seconds(at - tracer.injected_at)
    return elapsed < -_LATEST_INJECTION_S or elapsed > MOST_HALF_LIVES * tracer.half_life_s


def _dose(tracer: Tracer, reference: Reference) -> Decimal:
    """Bq at the moment to which the voxels are corrected; exact."""
    assert tracer.activity_bq is not None  # noqa: S101  _dose_reasons has looked
    assert tracer.half_life_s is not None  # noqa: S101
    assert tracer.injected_at is not None  # noqa: S101
    return activity_after(tracer.activity_bq, _seconds(reference.at - tracer.injected_at), tracer.half_life_s)


def _factor(kind: SuvType, body: Body, dose_bq: Decimal, per_voxel: Decimal, unit: str) -> Factor | tuple[Reason, ...]:
    by = normaliser(kind, body)
    if isinstance(by, tuple):
        return tuple(_REASONS[lacking] for lacking in by)
    size, top = (Decimal(10000), "cm2") if kind is SuvType.BSA else (Decimal(1000), "g")
    with localcontext(prec=_DIGITS):
        value = by * size * per_voxel / dose_bq
    return Factor(value=rounded(value), unit=f"{top}/Bq" if unit == "Bq/mL" else f"{top}/mL/{unit}")


def _per_frame(unit: str, per_voxel: Decimal, found: tuple[Reference, ...], tracer: Tracer, body: Body) -> Scale:
    """Voxels that are not corrected for decay: each frame has a factor of its own."""
    if len(found) > MOST_FRAMES:
        return _refused(unit, (Reason.FRAMES,), body)
    made = []
    for reference in found:
        factor = _factor(SuvType.BW, body, _dose(tracer, reference), per_voxel, unit)
        if not isinstance(factor, Factor) or reference.acquired_at is None or reference.duration_s is None:
            return _refused(unit, (Reason.WEIGHT,), body)
        made.append(FrameFactor(acquired_at=reference.acquired_at, duration_s=reference.duration_s, factor=factor))
    refused: dict[SuvType, tuple[Reason, ...]] = dict.fromkeys(SuvType, (Reason.FRAMES,))
    return Scale(voxel_unit=unit, factors={}, refused=refused, frames=tuple(made))


def _refused(unit: str | None, reasons: tuple[Reason, ...], body: Body | None = None) -> Scale:
    """No factor of any type; what the body lacks for a type is told as well."""

    def of(kind: SuvType) -> tuple[Reason, ...]:
        by = normaliser(kind, body) if body else Decimal(1)
        return (*reasons, *(_REASONS[lacking] for lacking in by)) if isinstance(by, tuple) else reasons

    return Scale(voxel_unit=unit, factors={}, refused={kind: tuple(dict.fromkeys(of(kind))) for kind in SuvType})


def _others(kind: SuvType) -> dict[SuvType, tuple[Reason, ...]]:
    """No conversion between types."""
    return {other: (Reason.SUV_TYPE,) for other in SuvType if other is not kind}


_REASONS = {
    Lacking.WEIGHT: Reason.WEIGHT,
    Lacking.SIZE: Reason.SIZE,
    Lacking.SEX: Reason.SEX,
    Lacking.RANGE: Reason.BODY_RANGE,
}


def rounded(value: Decimal) -> Decimal:
    """Eight significant digits, no exponent for numbers from 1 on."""
    return plain(_ROUNDING.plus(value))


def _seconds(span: dt.timedelta) -> Decimal:
    """Exact: a timedelta holds whole microseconds."""
    return Decimal(span // dt.timedelta(microseconds=1)).scaleb(-6)
