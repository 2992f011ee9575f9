"""What may be published of a result, with which status, and what its reader must know. The rules of standards.md C and D, pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from gateway.model import Issue, JsonObject, Severity
from gateway.nuclear.results import KINDS, Use

#: Effective dose as X-ray reports name it: of an event, and of all (PS3.16 TID 10013, 10012).
_EFFECTIVE = frozenset({"113839", "113814"})
#: How far a transported BED or EQD2 may lie from its formula before somebody is told.
_FORMULA_TOLERANCE = Decimal("0.02")


def allowed(fields: JsonObject, *, therapy: bool = False) -> Issue | None:
    """Why a result is not published at all, or ``None``. ``therapy``: a document calls its administration therapeutic."""
    kind = KINDS[fields["kind"]]
    effective = kind.use is Use.DIAGNOSTIC or (fields.get("code") or {}).get("code") in _EFFECTIVE
    if effective and (therapy or fields.get("use") != "diagnostic"):
        title = kind.title if kind.use is Use.DIAGNOSTIC else "Effective dose of X-rays"
        reason = f"{title} is withheld: it is published only where the procedure is explicitly diagnostic."
        return Issue(field=kind.name, reason=reason, severity=Severity.WARNING)
    if kind.region and not any(fields.get(name) for name in ("region", "lesion", "segment")):
        return Issue(field=kind.name, reason=f"{kind.title} is withheld: it names no region.")
    return None


def status_of(fields: JsonObject, *, verified: bool, corrected: bool = False) -> str:
    """FHIR observation-status: ``final`` only for a verified report, or with an approver and a date that a site accepts."""
    approved = fields.get("approved") or {}
    final = verified or bool(approved.get("by") and approved.get("at") and approved.get("accepted"))
    if not final:
        return "preliminary"
    return "amended" if corrected else "final"


def remarks_on(fields: JsonObject, issues: Sequence[Issue]) -> Iterable[Issue]:
    """What a reader must know of a result beside its value."""
    yield from issues
    yield from _formula(fields)


def _formula(fields: JsonObject) -> Iterable[Issue]:
    """EQD2 = BED / (1 + 2 Gy / (alpha/beta)): transported values are checked, never computed (standards.md C.1)."""
    told = {one["code"].get("code"): one["value"] for one in fields.get("components", ()) if one.get("value") and one.get("code")}
    bed, ratio, value = told.get("bed"), fields.get("alpha_beta"), fields.get("value")
    if fields["kind"] != "eqd2" or bed is None or ratio is None or value is None or not Decimal(ratio["value"]):
        return
    expected = Decimal(bed["value"]) / (1 + 2 / Decimal(ratio["value"]))
    if expected and abs(Decimal(value["value"]) / expected - 1) > _FORMULA_TOLERANCE:
        yield Issue(
            field="eqd2", reason="EQD2 does not follow from BED and alpha/beta: published as told.", severity=Severity.WARNING
        )
