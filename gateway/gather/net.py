"""Does the administered activity of a report follow from what the dose calibrator read? A check; nothing is computed for publication.

Net activity = syringe before, decayed to the start, minus the residual, brought back to it (standards.md A.7, G.1).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from gateway.dicom.values import instant
from gateway.model import Issue, JsonObject, Severity
from gateway.nuclear.decay import net_activity
from gateway.nuclear.units import convert

#: How far the stated activity may lie from the recomputed one.
NET_TOLERANCE = Decimal("0.01")
_FIELD = "administration.activity"


def net_issue(fields: JsonObject) -> Issue | None:
    """What somebody must know about the stated activity, or ``None``: also when the report does not tell enough to check it."""
    stated, before, half_life = (_number(fields, name, unit) for name, unit in _NEEDED)
    before_s = _seconds(fields.get("measured_before_at"), fields.get("started_at"))
    if stated is None or before is None or half_life is None or before_s is None:
        return None
    residual, residual_s = Decimal(0), Decimal(0)
    if "measured_after" in fields:
        after = _number(fields, "measured_after", "MBq")
        after_s = _seconds(fields.get("started_at"), fields.get("measured_after_at"))
        if after is None or after_s is None:
            return None
        residual, residual_s = after, after_s
    net = net_activity(before=before, before_s=before_s, residual=residual, residual_s=residual_s, half_life_s=half_life)
    share = stated / net - 1 if net > 0 else Decimal(1)
    if abs(share) <= NET_TOLERANCE or ("measured_after" not in fields and share < 0):  # a residual that nobody wrote down
        return None
    percent = f"{abs(share) * 100:.1f}"
    reason = f"lies {percent} % {'above' if share > 0 else 'below'} the net of what was measured before and after: published as stated."
    return Issue(field=_FIELD, reason=reason, severity=Severity.WARNING)


_NEEDED = (("activity", "MBq"), ("measured_before", "MBq"), ("half_life", "s"))


def _number(fields: JsonObject, name: str, unit: str) -> Decimal | None:
    quantity = fields.get(name)
    return convert(Decimal(quantity["value"]), quantity["unit"], unit) if isinstance(quantity, dict) else None


def _seconds(earlier: Any, later: Any) -> Decimal | None:
    """From one moment to another, where both are told to the second."""
    one, two = (instant(text) if isinstance(text, str) else None for text in (earlier, later))
    return Decimal(str((two - one).total_seconds())) if one and two else None
