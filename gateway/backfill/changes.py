"""An Orthanc's log of changes (``/changes``): what came there, in order, each object under a number of its own.

The numbers grow and are never given twice while Orthanc keeps its index. Changes of what is deleted vanish from the log; a
``DELETE /changes`` empties it. An answer without changes says in ``Last`` what the newest number is, so it tells of an index that is older
than what was read (seen with Orthanc 1.10.1; ``https://orthanc.uclouvain.be/book/users/rest.html``, Tracking changes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.backfill.http import SourceHttp
from gateway.errors import GatewayError, Quarantined
from gateway.spool.feeds import Feed

_NEW_OBJECT = "NewInstance"
#: Series whose modality and study date are remembered; a series comes slice by slice.
_REMEMBERED_SERIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    number: int
    mark: str  #: a digest of what it says, without any identity
    handle: str  #: Orthanc's name of the new object; empty for changes of another kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    changes: Sequence[Change]
    newest: int  #: as far as this answer tells


class OrthancChanges:
    def __init__(self, http: SourceHttp) -> None:
        self._http = http
        self._series: dict[str, tuple[str, str]] = {}

    def page(self, since: int, limit: int) -> Page:
        """Changes with a number above ``since``, in order. Raises :class:`Retryable` or :class:`Quarantined`."""
        return self._page(f"changes?since={since}&limit={limit}")

    def newest(self) -> int:
        """The number of the last change that is in the log."""
        return self._page("changes?last").newest

    def _page(self, address: str) -> Page:
        told = self._http.get_json(address)
        try:
            changes = [_change(item) for item in told["Changes"]]
            return Page(changes=changes, newest=int(told["Last"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Quarantined("The source did not answer as an Orthanc does.") from error

    def fetch(self, handle: str) -> bytes | None:
        """The object's file; None where it is gone."""
        return self._http.get_bytes_if_there(f"instances/{handle}/file")

    def is_wanted(self, handle: str, feed: Feed) -> bool | None:
        """By the modality of its series and the date of its study; None where it is gone. A study without a date is in no range."""
        if not (feed.modalities or feed.from_day or feed.to_day):
            return True
        instance = self._http.get_json_if_there(f"instances/{handle}")
        if instance is None:
            return None
        described = self._describe(str(instance.get("ParentSeries", "")))
        if described is None:
            return None
        modality, day = described
        if feed.modalities and modality not in feed.modalities:
            return False
        if not (feed.from_day or feed.to_day):
            return True
        return bool(day) and (feed.from_day or day) <= day <= (feed.to_day or day)

    def is_well(self) -> bool:
        """Whether it answers at all; an object that it does not give is then the object's own trouble."""
        try:
            self._http.get_json("system")
        except GatewayError:
            return False
        return True

    def _describe(self, series: str) -> tuple[str, str] | None:
        """Modality and StudyDate as YYYY-MM-DD."""
        if series not in self._series:
            told = self._http.get_json_if_there(f"series/{series}")
            study = self._http.get_json_if_there(f"series/{series}/study")
            if told is None or study is None:
                return None
            if len(self._series) >= _REMEMBERED_SERIES:
                self._series.pop(next(iter(self._series)))
            date = _tag(study, "StudyDate")
            day = f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else ""
            self._series[series] = _tag(told, "Modality"), day
        return self._series[series]


def _tag(described: Any, name: str) -> str:
    return str(described.get("MainDicomTags", {}).get(name, "")).strip()


def _change(item: Any) -> Change:
    said = "|".join(str(item[key]) for key in ("ChangeType", "ID", "Date"))
    return Change(
        number=int(item["Seq"]),
        mark=hashlib.sha256(said.encode()).hexdigest()[:16],
        handle=str(item["ID"]) if item["ChangeType"] == _NEW_OBJECT else "",
    )
