"""An archive by its DICOMweb, such as Orthanc's plugin: where its REST API is not open to us."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote

from pydicom.datadict import tag_for_keyword

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.web.behind.archive import NUMBERS, Level, Match, Place, Values, is_uid, number
from gateway.web.behind.http import SEARCH_SECS, ArchiveHttp
from gateway.web.dicomweb_search import all_match

_PAGE = 1000
_MOST_OBJECTS = 100_000
#: PS3.18 8.7.3.5: whatever encoding it has.
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_PATHS: dict[Level, str] = {Level.STUDY: "studies", Level.SERIES: "series", Level.INSTANCE: "instances"}
_STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription", "ModalitiesInStudy", "PatientID",
    "PatientName", "PatientBirthDate", "PatientSex", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
)  # fmt: skip
_SERIES = (
    "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "Manufacturer",
    "NumberOfSeriesRelatedInstances",
)  # fmt: skip
_INSTANCE = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "NumberOfFrames", "AvailableTransferSyntaxUID")
_KEYWORDS: dict[Level, tuple[str, ...]] = {
    Level.STUDY: _STUDY,
    Level.SERIES: _STUDY + _SERIES,
    Level.INSTANCE: _STUDY + _SERIES + _INSTANCE,
}
#: What is not told unless asked for (PS3.18 10.6.1.2.3, and Orthanc's plugin).
_INCLUDED: dict[Level, tuple[str, ...]] = {
    Level.STUDY: ("StudyDescription", "ModalitiesInStudy"),
    Level.SERIES: ("StudyDescription", "ModalitiesInStudy", "SeriesDescription", "BodyPartExamined", "Manufacturer"),
    Level.INSTANCE: (
        "StudyDescription", "ModalitiesInStudy", "SeriesDescription", "BodyPartExamined", "Manufacturer", "SOPClassUID", "NumberOfFrames",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PluginArchive:
    name: str
    _http: ArchiveHttp
    shows_all: bool

    def places(self, study: str, series: str = "", instance: str = "") -> list[Place]:
        if not all(is_uid(uid) for uid in (study, series or "1", instance or "1")):
            return []
        address = f"studies/{study}/series/{series}/instances" if series else f"studies/{study}/instances"
        query = [("SOPInstanceUID", instance)] if instance else []
        found: dict[str, Place] = {}
        until = self._http.until()
        while len(found) < _MOST_OBJECTS:
            page = self._ask(address, [*query, ("limit", str(_PAGE)), ("offset", str(len(found)))], until)
            known = len(found)
            for item in page:
                place = Place(
                    study_uid=study,
                    series_uid=_text(item, "SeriesInstanceUID") or series,
                    sop_instance_uid=_text(item, "SOPInstanceUID"),
                )
                if is_uid(place.series_uid) and is_uid(place.sop_instance_uid):
                    found[place.sop_instance_uid] = place
            if len(page) < _PAGE or len(found) == known:
                break
        return sorted(found.values(), key=lambda place: (place.series_uid, place.sop_instance_uid))

    def fetch(self, place: Place, into: IO[bytes], *, most_bytes: int) -> None:
        address = f"studies/{place.study_uid}/series/{place.series_uid}/instances/{place.sop_instance_uid}"
        self._http.save(quote(address), into, accept=_AS_STORED, most_bytes=most_bytes)

    def find(self, level: Level, matching: Mapping[str, str], *, limit: int, offset: int) -> list[Match]:
        parameters = [(keyword, _widened(keyword, value)) for keyword, value in matching.items()]
        parameters += [("includefield", keyword) for keyword in _INCLUDED[level]]
        page = [("limit", str(limit)), ("offset", str(offset))]
        items = self._ask(_PATHS[level], [*parameters, *page], self._http.until(SEARCH_SECS))
        found = [(item, self._values(level, item)) for item in items]
        asked = frozenset(matching) & frozenset(_KEYWORDS[level])
        return [
            Match(study_uid=_text(item, "StudyInstanceUID"), item=item, fits=all_match(values, matching, asked))
            for item, values in found
        ]

    def tell(self, level: Level, matches: Sequence[Match]) -> list[Values]:
        return [self._values(level, match.item) for match in matches]

    def _values(self, level: Level, item: JsonObject) -> Values:
        return {keyword: _value(item, keyword) for keyword in _KEYWORDS[level]}

    def _ask(self, address: str, parameters: Sequence[tuple[str, str]], until: float) -> list[JsonObject]:
        query = "&".join(f"{name}={value}" for name, value in parameters)
        answer = self._http.json("GET", f"{address}?{query}", accept="application/dicom+json", until=until)
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise Rejected("the archive's answer is not that of QIDO-RS", status=502)
        return answer


def _widened(keyword: str, value: str) -> str:
    """The value in letters that need no escape: Orthanc's plugin 1.7 does not undo escapes. What is another is a wild card, and the answer
    is compared again.
    """
    if keyword.endswith("UID") or keyword == "ModalitiesInStudy":
        value = value.replace("\\", ",")
    return re.sub(r"[^A-Za-z0-9*?,.:_~@!()/-]", lambda found: "?" if found[0].isascii() else "*", value)


def _values(item: JsonObject, keyword: str) -> list[Any]:
    """PS3.18 F.2: what stands under the tag."""
    element = item.get(f"{int(tag_for_keyword(keyword) or 0):08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(item: JsonObject, keyword: str) -> str:
    values = _values(item, keyword)
    first = values[0] if values else ""
    return str(first.get("Alphabetic", "")) if isinstance(first, dict) else str(first if first is not None else "")


def _value(item: JsonObject, keyword: str) -> str | list[str] | int | None:
    if keyword == "ModalitiesInStudy":
        return [str(value) for value in _values(item, keyword)]
    return number(_text(item, keyword)) if keyword in NUMBERS else _text(item, keyword)
