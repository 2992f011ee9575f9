"""What sources state of an administration and nobody may believe: the fact itself says why it lacks it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.gather.readings import Account
from gateway.model import Issue, JsonObject, Severity

#: Fields of an administration, and what people call them.
_CALLED = {
    "activity": "activity",
    "started_at": "start",
    "stopped_at": "end",
    "radionuclide": "radionuclide",
    "agent": "agent",
    "half_life": "half-life",
}
_SUFFIX = ": withheld"
_ENDING = "; it is not published."


def withheld(told: Account, fields: JsonObject) -> Iterator[Issue]:
    """For each field that no source gives a believable value for, why the values that were there are not published."""
    for name, called in _CALLED.items():
        if name in fields:
            continue
        reasons = dict.fromkeys(
            issue.reason.removesuffix(_SUFFIX)
            for reading in told.readings
            for issue in reading.shared.issues
            if issue.severity is Severity.ERROR and issue.field == f"{reading.label}.{name}"
        )
        for reason in reasons:
            yield Issue(field=f"administration.{name}", reason=f"The {called} {reason}{_ENDING}", severity=Severity.WARNING)


def repeats_its_source(issue: Issue) -> bool:
    """True for what a record of the fact told as an issue of its own."""
    return issue.reason.endswith(_ENDING)
