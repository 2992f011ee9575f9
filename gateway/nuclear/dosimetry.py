"""Relations between quantities of internal dosimetry. They check what software states; nothing computed here is published.

MIRD Pamphlet 21 (J Nucl Med 2009;50:477) for time-integrated activity and its coefficient; BED of an exponentially decreasing dose
rate with mono-exponential repair: Baechler et al., Med Phys 2008;35:1123; EQD2: Bentzen et al., Radiother Oncol 2012;105:266.
All in ``Decimal``.
"""

from __future__ import annotations

from decimal import Decimal


def biological_half_life(effective: Decimal, physical: Decimal) -> Decimal | None:
    """1/T_b = 1/T_eff - 1/T_p, in the unit of both. ``None`` when nothing leaves the body."""
    rest = 1 / effective - 1 / physical
    return 1 / rest if rest > 0 else None


def bed(dose_gy: Decimal, alpha_beta_gy: Decimal, repair_half_time: Decimal, effective_half_life: Decimal) -> Decimal:
    """D + D^2/(alpha/beta) * T_rep/(T_rep + T_eff), in Gy; both times in one unit."""
    repaired = repair_half_time / (repair_half_time + effective_half_life)
    return dose_gy + dose_gy * dose_gy / alpha_beta_gy * repaired


def eqd2(bed_gy: Decimal, alpha_beta_gy: Decimal) -> Decimal:
    """BED / (1 + 2 Gy / (alpha/beta)), in Gy."""
    return bed_gy / (1 + 2 / alpha_beta_gy)


def share_apart(stated: Decimal, expected: Decimal) -> Decimal:
    """How far a stated number is from the expected one, as a share of the larger."""
    largest = max(abs(stated), abs(expected))
    return abs(stated - expected) / largest if largest else Decimal(0)
