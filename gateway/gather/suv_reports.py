"""What a dose report of the same study tells of the injection that a SUV factor rests on.

The factor rests on the header of its series, as every viewer's does (standards.md B.2); the administration is published from the dose
report (design.md section 4). Where the two tell another time or activity, whoever uses the factor must know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from gateway.gather.documents import documents, standing
from gateway.gather.readings import Source, injection_of, source_of
from gateway.model import JsonObject, SharedFields
from gateway.nuclear.sameness import Gap, gap, same_nuclide

#: Differences that say nothing: half a minute, half a percent.
_SECONDS, _SHARE = Decimal(30), Decimal("0.005")


def other_account(series: Sequence[SharedFields], study: Iterable[SharedFields]) -> str | None:
    """A sentence about the dose report of the study that differs from the headers of a series, or ``None``.

    ``series`` are the distinct records of the series, ``study`` those of the whole study. Without exactly one injection of the nuclide on
    either side nothing can be compared.
    """
    reports = [shared for shared in study if source_of(shared) is Source.REPORT]
    reported = [injection_of(one) for shared in standing(reports, documents(reports)) for one in shared.administrations]
    headers = [injection_of(one) for shared in series for one in shared.administrations]
    own = headers[0] if headers else None
    fitting = [one for one in reported if own is not None and same_nuclide(one, own)]
    if own is None or len(fitting) != 1 or any(one != own for one in headers):
        return None
    apart = gap(fitting[0], own)
    if not _differs(apart):
        return None
    return f"Compared with the header, a dose report of the study tells of the injection {apart.words()}; the factor rests on the header."


def _differs(apart: Gap) -> bool:
    seconds, share = apart.seconds or Decimal(0), apart.share or Decimal(0)
    return abs(seconds) >= _SECONDS or abs(share) >= _SHARE


def with_remark(suv: JsonObject, remark: str | None) -> JsonObject:
    """The published content of a series, with one more remark, and marked by it."""
    return {**suv, "remarks": [*suv.get("remarks", ()), remark], "discrepancy": remark} if suv and remark else suv
