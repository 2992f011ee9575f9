"""An Orthanc by its own REST API, which every Orthanc has: objects come as they are stored, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from gateway.errors import Rejected
from gateway.model import JsonObject
from gateway.web.behind.archive import NUMBERS, Level, Match, Place, Values, is_uid, number
from gateway.web.behind.http import SEARCH_SECS, ArchiveHttp

#: Orthanc's own identifiers: a SHA-1 in five groups (Orthanc Book, "Orthanc identifiers").
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")
_LEVELS: dict[Level, str] = {Level.STUDY: "Study", Level.SERIES: "Series", Level.INSTANCE: "Instance"}
_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription")
_SERIES = ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "Manufacturer")
_INSTANCE = ("SOPInstanceUID", "InstanceNumber", "NumberOfFrames")


@dataclass(frozen=True, slots=True)
class RestArchive:
    name: str
    _http: ArchiveHttp
    shows_all: bool

    def places(self, study: str, series: str = "", instance: str = "") -> list[Place]:
        asked = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": instance}
        query = {keyword: uid for keyword, uid in asked.items() if uid}
        if not all(map(is_uid, query.values())):
            return []
        until = self._http.until()
        objects = self._find(Level.INSTANCE, query, until)
        if not objects:
            return []
        above = {keyword: uid for keyword, uid in query.items() if keyword != "SOPInstanceUID"}
        series_uids = {item["ID"]: _tag(item, "SeriesInstanceUID") for item in self._find(Level.SERIES, above, until)}
        found = [
            Place(
                study_uid=study,
                series_uid=series_uids.get(item.get("ParentSeries", ""), ""),
                sop_instance_uid=_tag(item, "SOPInstanceUID"),
                handle=item["ID"],
            )
            for item in objects
        ]
        return sorted(
            (place for place in found if place.series_uid), key=lambda place: (place.series_uid, place.sop_instance_uid)
        )

    def fetch(self, place: Place, into: IO[bytes], *, most_bytes: int) -> None:
        self._http.save(f"instances/{place.handle}/file", into, accept="application/dicom", most_bytes=most_bytes)

    def find(self, level: Level, matching: Mapping[str, str], *, limit: int, offset: int) -> list[Match]:
        query = {keyword: _listed(keyword, value) for keyword, value in matching.items()}
        until = self._http.until(SEARCH_SECS)
        told = _Told(self._http, until)
        items = self._find(level, query, until, {"Limit": limit, "Since": offset})
        return [Match(study_uid=_tag(told.study_of(level, item), "StudyInstanceUID"), item=item) for item in items]

    def tell(self, level: Level, matches: Sequence[Match]) -> list[Values]:
        told = _Told(self._http, self._http.until(SEARCH_SECS))
        return [told.values(level, match.item) for match in matches]

    def _find(
        self, level: Level, query: Mapping[str, str], until: float, page: Mapping[str, int] | None = None
    ) -> list[JsonObject]:
        wanted = {"Level": _LEVELS[level], "Query": {**query}, "Expand": True, "CaseSensitive": False, **(page or {})}
        return _items(self._http.json("POST", "tools/find", body=wanted, until=until))


class _Told:
    """What Orthanc tells of the things that a page of a search names, each asked once."""

    def __init__(self, http: ArchiveHttp, until: float) -> None:
        self._http = http
        self._until = until
        self._series: dict[str, Sequence[JsonObject]] = {}
        self._one: dict[str, JsonObject] = {}

    def study_of(self, level: Level, item: JsonObject) -> JsonObject:
        if level is Level.INSTANCE:
            item = self._get("series", item.get("ParentSeries"))
        return item if level is Level.STUDY else self._get("studies", item.get("ParentStudy"))

    def values(self, level: Level, item: JsonObject) -> Values:
        if level is Level.STUDY:
            return self._study(item)
        return self._of_series(item) if level is Level.SERIES else self._instance(item)

    def _study(self, item: JsonObject) -> Values:
        series = self._series_of(item["ID"])
        patient = item.get("PatientMainDicomTags", {})
        return {
            **{keyword: str(patient.get(keyword, "")) for keyword in _PATIENT},
            **{keyword: _tag(item, keyword) for keyword in _STUDY},
            "ModalitiesInStudy": sorted({_tag(one, "Modality") for one in series} - {""}),
            "NumberOfStudyRelatedSeries": len(series),
            "NumberOfStudyRelatedInstances": sum(len(one.get("Instances", ())) for one in series),
        }

    def _of_series(self, item: JsonObject) -> Values:
        found: Values = {**self._study(self._get("studies", item.get("ParentStudy")))}
        for keyword in _SERIES:
            found[keyword] = number(_tag(item, keyword)) if keyword in NUMBERS else _tag(item, keyword)
        return {**found, "NumberOfSeriesRelatedInstances": len(item.get("Instances", ()))}

    def _instance(self, item: JsonObject) -> Values:
        found = self._of_series(self._get("series", item.get("ParentSeries")))
        for keyword in _INSTANCE:
            found[keyword] = number(_tag(item, keyword)) if keyword in NUMBERS else _tag(item, keyword)
        told = self._http.json("GET", f"instances/{item['ID']}/metadata?expand", until=self._until)
        told = told if isinstance(told, dict) else {}
        return {
            **found,
            "SOPClassUID": str(told.get("SopClassUid", "")),
            "AvailableTransferSyntaxUID": str(told.get("TransferSyntax", "")),
        }

    def _series_of(self, identifier: str) -> Sequence[JsonObject]:
        if identifier not in self._series:
            self._series[identifier] = _items(self._http.json("GET", f"studies/{identifier}/series", until=self._until))
        return self._series[identifier]

    def _get(self, kind: str, identifier: object) -> JsonObject:
        if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
            raise _strange()
        if identifier not in self._one:
            found = self._http.json("GET", f"{kind}/{identifier}", until=self._until)
            self._one[identifier] = _items([found])[0] if found else {"ID": identifier}
        return self._one[identifier]


def _items(answer: Any) -> list[JsonObject]:
    """What an expanded list holds, each with an identifier that is safe in an address."""
    if not isinstance(answer, list) or not all(_is_resource(item) for item in answer):
        raise _strange()
    return answer


def _is_resource(item: Any) -> bool:
    if not isinstance(item, dict) or not _ID.fullmatch(str(item.get("ID"))):
        return False
    tags = all(isinstance(item.get(name, {}), dict) for name in ("MainDicomTags", "PatientMainDicomTags"))
    return tags and isinstance(item.get("Instances", []), list)


def _strange() -> Rejected:
    return Rejected("the archive's answer is not that of an Orthanc", status=502)


def _tag(item: JsonObject, keyword: str) -> str:
    return str(item.get("MainDicomTags", {}).get(keyword, ""))


def _listed(keyword: str, value: str) -> str:
    """Lists are written with commas in QIDO-RS (PS3.18 8.3.4.1), with backslashes in C-FIND's words, which Orthanc takes."""
    return value.replace(",", "\\") if keyword.endswith("UID") or keyword == "ModalitiesInStudy" else value
