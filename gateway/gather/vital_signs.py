"""Weight, height and the like of one patient at one time, told by a dose report and by image headers: one fact. Pure.

A header dates them by its study, a report by the measurement or not at all. Within a day of each other and at one administration they are
the same fact: the report counts first, and a difference is told. A study days later has a weight of its own. What only headers tell
is a fact of their study, so that its id does not depend on what was known of administrations when it was made.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.dicom.values import instant
from gateway.gather.readings import Source
from gateway.model import Administration

if TYPE_CHECKING:
    from gateway.gather.results import Telling

#: The kind that holds them (nuclear/results.py).
BODY = "patient-characteristic"
_ONE_VISIT = dt.timedelta(days=1)


def of_one_moment(tellings: Iterable[Telling], administrations: Sequence[Administration]) -> list[Telling]:
    """The tellings, those of headers under the name of the report's fact where exactly one is of the same visit."""
    starts = {item.key: item.fields.get("started_at") for item in administrations}
    told = list(tellings)
    known: dict[tuple[str, str], dict[str, dt.datetime | None]] = defaultdict(dict)
    for one in told:
        if one.kind == BODY and one.document.rank is not Source.IMAGE and one.document.stands:
            known[_about(one)][one.words] = _moment(one.fields.get("at") or starts.get(one.administration or ""))
    return [_named(one, known) if one.kind == BODY and one.document.rank is Source.IMAGE else one for one in told]


def _named(telling: Telling, known: dict[tuple[str, str], dict[str, dt.datetime | None]]) -> Telling:
    at = _moment(telling.fields.get("at"))
    found = [
        words for words, other in known.get(_about(telling), {}).items() if not at or not other or abs(at - other) <= _ONE_VISIT
    ]
    if len(found) != 1:
        return telling
    return replace(telling, words=found[0], also=(*telling.also, telling.words), is_joined=True)


def _about(telling: Telling) -> tuple[str, str]:
    """What it is of and what was measured, without the time: the last of its words."""
    of = telling.subject if telling.administration is None else f"administration|{telling.administration}"
    return of, telling.words.rpartition("|")[0]


def _moment(told: object) -> dt.datetime | None:
    return instant(told) if isinstance(told, str) else None
