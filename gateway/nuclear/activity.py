"""Is this number an administered activity, and in which unit? The rule that keeps wrong numbers out (design.md section 4).

The unit of RadionuclideTotalDose (0018,1074) follows from the SOP class: Bq in PET Image, MBq in NM Image (PS3.3 C.8.9.2,
C.8.4.10). Senders break it both ways. The number is taken as declared when that is plausible for the nuclide; it is repaired
only if over Bq, kBq, MBq, GBq and mCi exactly one reading is plausible; otherwise it is withheld. "10" in a PET header may
be 10 MBq or 10 mCi, so it is withheld.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gateway.nuclear.nuclide import Nuclide
from gateway.nuclear.units import convert

READINGS = ("Bq", "kBq", "MBq", "GBq", "mCi")

#: For a nuclide without its own range, in MBq: from a test source to the highest I-131 therapy. Proves nothing about units.
GENERAL_RANGE_MBQ = (Decimal("0.1"), Decimal(20000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A number understood as an activity. ``repaired`` when its unit is not the one the standard wants there."""

    mbq: Decimal
    unit: str
    repaired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A number that must not be published, and why. ``candidates`` is what it may be, when that is more than one thing."""

    reason: str
    candidates: tuple[Reading, ...] = ()


def read_activity(
    number: Decimal,
    declared: str,
    nuclide: Nuclide | None,
    *,
    agent_mbq: tuple[Decimal, Decimal] | None = None,
    pinned: bool = False,
) -> Reading | Withheld:
    """Understand ``number``, declared in unit ``declared``, for a nuclide (``None``: unknown).

    ``agent_mbq`` is the range of the agent, in MBq. It is narrower than the nuclide's, so it only keeps numbers out: which unit was
    meant is never concluded from it. ``pinned``: somebody swears to the unit, so no other is tried.
    """
    if number <= 0:
        return Withheld(reason="is not above zero")
    reading = _in_some_unit(number, declared, nuclide, pinned=pinned)
    if isinstance(reading, Reading) and agent_mbq and not _within(reading.mbq, agent_mbq):
        return Withheld(reason="is not plausible for this agent")
    return reading


def _in_some_unit(number: Decimal, declared: str, nuclide: Nuclide | None, *, pinned: bool) -> Reading | Withheld:
    limits = nuclide.plausible_mbq if nuclide else None
    as_declared = convert(number, declared, "MBq")
    if _within(as_declared, limits or GENERAL_RANGE_MBQ):
        return Reading(mbq=as_declared, unit=declared, repaired=False)
    if pinned:
        return Withheld(reason=f"is not plausible in {declared}, the unit to which the mapping swears")
    if nuclide is None or limits is None:
        return Withheld(reason=f"is not plausible in {declared}, and without a known nuclide its unit cannot be found out")
    plausible = [unit for unit in READINGS if _within(convert(number, unit, "MBq"), limits)]
    if len(plausible) == 1:
        return Reading(mbq=convert(number, plausible[0], "MBq"), unit=plausible[0], repaired=True)
    if plausible:
        return Withheld(
            reason=f"is not plausible in {declared} for {nuclide.name}, and may be in {' or in '.join(plausible)}: ambiguous",
            candidates=tuple(Reading(mbq=convert(number, unit, "MBq"), unit=unit, repaired=True) for unit in plausible),
        )
    return Withheld(reason=f"is not plausible for {nuclide.name} in any of {', '.join(READINGS)}")


def _within(value: Decimal, limits: tuple[Decimal, Decimal]) -> bool:
    return limits[0] <= value <= limits[1]
