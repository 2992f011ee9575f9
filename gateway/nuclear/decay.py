"""Radioactive decay: A(t) = A0 * 2^(-t / half-life). Times and half-lives in seconds, exact numbers in ``Decimal``.

Formulae as in the QIBA vendor-neutral SUV pseudo-code (standards.md B.2); rounding is left to the caller.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

_DIGITS = 34
_LN2 = Decimal("0.6931471805599453094172321214581765680755")


def decay_factor(elapsed_s: Decimal, half_life_s: Decimal) -> Decimal:
    """The share that is left after ``elapsed_s``; above 1 for a negative time (decay correction backwards).

    Raises :class:`ValueError` when the half-life is not above zero.
    """
    if half_life_s <= 0:
        raise ValueError("a half-life must be above zero")
    with localcontext(prec=_DIGITS):
        return Decimal(2) ** (-elapsed_s / half_life_s)


def activity_after(activity: Decimal, elapsed_s: Decimal, half_life_s: Decimal) -> Decimal:
    """What is left of ``activity`` (any unit) after ``elapsed_s``."""
    with localcontext(prec=_DIGITS):
        return activity * decay_factor(elapsed_s, half_life_s)


def net_activity(*, before: Decimal, before_s: Decimal, residual: Decimal, residual_s: Decimal, half_life_s: Decimal) -> Decimal:
    """What went into the patient: syringe before minus after, both brought to the instant of administration.

    ``before_s``: seconds from the measurement before to the administration; ``residual_s``: seconds from the administration
    to the measurement of the residual. GE notes the two measurements this way (standards.md A.13 #5).
    """
    with localcontext(prec=_DIGITS):
        given = activity_after(before, before_s, half_life_s)
        kept = activity_after(residual, -residual_s, half_life_s)
        return given - kept


def mean_activity_offset_s(duration_s: Decimal, half_life_s: Decimal) -> Decimal:
    """How long after the start of a frame its mean activity is reached: (1/L) ln(L T / (1 - e^(-L T))), L = ln 2 / half-life."""
    with localcontext(prec=_DIGITS):
        rate = _LN2 / half_life_s
        exponent = rate * duration_s
        return (exponent / (1 - (-exponent).exp())).ln() / rate
