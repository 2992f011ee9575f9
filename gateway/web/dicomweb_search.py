"""QIDO-RS (PS3.18 10.6): studies, series and instances by what the mappings read from their headers. Pure but for the archive it asks.

Matching by UID and by patient id uses the ledger's indexes; the rest is compared one by one, newest first, and stops with a warning
when too many have been looked at.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from gateway.errors import Rejected
from gateway.gather.patient import identifier_of
from gateway.model import JsonObject
from gateway.spool.archive import Archive, Served, Told
from gateway.web.behind.archive import Level, Values

DEFAULT_LIMIT, MOST_LIMIT = 100, 1000
MOST_LOOKED_AT = 20_000
_NOT_MATCHING = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept"})
_SEXES = {"male": "M", "female": "F", "other": "O"}

_STUDY_KEYS = frozenset(
    {
        "StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "StudyDescription", "ModalitiesInStudy",
    }
)  # fmt: skip
_SERIES_KEYS = frozenset(
    {"SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "Manufacturer"}
)
_INSTANCE_KEYS = frozenset({"SOPInstanceUID", "SOPClassUID", "InstanceNumber", "NumberOfFrames"})
_KEYS = {
    Level.STUDY: _STUDY_KEYS,
    Level.SERIES: _STUDY_KEYS | _SERIES_KEYS,
    Level.INSTANCE: _STUDY_KEYS | _SERIES_KEYS | _INSTANCE_KEYS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    level: Level
    matching: Mapping[str, str]
    limit: int
    offset: int
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``matched``: how many matches were passed, those before ``offset`` among them; ``more``: there are more than these."""

    items: list[JsonObject]
    warning: str = ""
    matched: int = 0
    more: bool = False


def parse(parameters: Sequence[tuple[str, str]], uids: Mapping[str, str], level: Level) -> Query:
    """Read the parameters. What cannot be matched here is ignored and told (PS3.18 8.3.4.5). Raises :class:`Rejected` (400)."""
    names = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
    matching = {names[name]: uid for name, uid in uids.items()}
    ignored: list[str] = []
    numbers = {"limit": DEFAULT_LIMIT, "offset": 0}
    for name, value in parameters:
        if name in numbers:
            if not re.fullmatch(r"[0-9]{1,9}", value):
                raise Rejected(f"{name} is a whole number", status=400)
            numbers[name] = int(value)
        elif name.lower() in _NOT_MATCHING:
            if name == "fuzzymatching" and value == "true":
                ignored.append(name)
        elif (keyword := _keyword(name)) in _KEYS[level]:
            if value not in ("", "*"):
                matching[keyword] = value
        else:
            ignored.append(keyword)
    limit = min(numbers["limit"], MOST_LIMIT)
    return Query(level=level, matching=matching, limit=limit, offset=numbers["offset"], ignored=tuple(ignored))


def _keyword(name: str) -> str:
    """A DICOM keyword, also when it was given as eight hexadecimal digits. Raises :class:`Rejected` (400)."""
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return keyword_for_tag(int(name, 16)) or "an unknown tag"
    if not re.fullmatch(r"[A-Za-z0-9.]{1,128}", name) or (tag_for_keyword(name.rpartition(".")[2]) is None):
        raise Rejected("a parameter is neither a DICOM keyword nor a tag", status=400)
    return name


def search(archive: Archive, query: Query, base: str, is_seen: Callable[[str], bool] | None = None) -> Found:
    """The matching studies, series or instances as DICOM JSON, newest studies first; only of studies that ``is_seen`` lets through."""
    budget = _Budget()
    items: list[Values] = []
    matched = 0
    for values in islice(_matches(archive, query, base, budget, is_seen), query.offset + query.limit + 1):
        matched += 1
        if matched > query.offset:
            items.append(values)
    warnings = [f"not matched here: {', '.join(query.ignored)}"] if query.ignored else []
    if len(items) > query.limit:
        warnings.append("there are more results: ask with offset")
    if budget.spent:
        warnings.append("the search was too broad and stopped; name a patient or a study")
    is_cut = len(items) > query.limit or budget.spent
    return Found(
        items=[dicom_json(values) for values in items[: query.limit]], warning="; ".join(warnings), matched=matched, more=is_cut
    )


@dataclass
class _Budget:
    """How many headers one question may look at."""

    looked_at: int = 0
    spent: bool = False

    def spend(self) -> bool:
        self.looked_at += 1
        self.spent = self.looked_at > MOST_LOOKED_AT
        return not self.spent


def _matches(
    archive: Archive, query: Query, base: str, budget: _Budget, is_seen: Callable[[str], bool] | None
) -> Iterator[Values]:
    for uid in _study_uids(archive, query.matching, budget):
        if is_seen is not None and not is_seen(uid):
            continue
        study = _Study.read(archive, uid)
        if not study.series or not all_match(study.values(base), query.matching, _STUDY_KEYS):
            continue
        if query.level is Level.STUDY:
            yield study.values(base)
            continue
        for series_uid, told in study.series.items():
            series = study.series_values(series_uid, told, base)
            if not all_match(series, query.matching, _SERIES_KEYS):
                continue
            if query.level is Level.SERIES:
                yield series
            else:
                yield from _instances(archive, series, query.matching, base)


def _study_uids(archive: Archive, matching: Mapping[str, str], budget: _Budget) -> Iterator[str]:
    """Candidates, newest first, each once. Patient-level and study-level fields are looked at here, before a study is read whole."""
    known = re.split(r"[,\\]", matching["StudyInstanceUID"]) if "StudyInstanceUID" in matching else []
    if not known and "SeriesInstanceUID" in matching:
        known = [uid for series in re.split(r"[,\\]", matching["SeriesInstanceUID"]) if (uid := archive.study_of(series))]
    if known:
        yield from dict.fromkeys(known)
        return
    patient_id = matching.get("PatientID", "")
    exact = "" if re.search(r"[*?]", patient_id) else patient_id
    seen: set[str] = set()
    header_keys = _STUDY_KEYS - {"ModalitiesInStudy"}
    for told in archive.told(patient_id=exact):
        if not budget.spend():
            return
        if told.study_uid not in seen and all_match(_header_values(told), matching, header_keys):
            seen.add(told.study_uid)
            yield told.study_uid


@dataclass
class _Study:
    """One study as DICOMweb tells it: the first header of each series speaks for it."""

    uid: str
    numbers: dict[str, int]
    series: dict[str, Told] = field(default_factory=dict)

    @classmethod
    def read(cls, archive: Archive, uid: str) -> _Study:
        study = cls(uid, archive.numbers(uid))
        for told in archive.told(study=uid):
            series_uid = str(told.fields.series.get("uid", ""))
            if series_uid in study.numbers:
                study.series[series_uid] = told
        return study

    def values(self, base: str) -> Values:
        first = next(iter(self.series.values()))
        modalities = sorted({str(told.fields.series.get("modality")) for told in self.series.values()})
        return {
            **_header_values(first),
            "ModalitiesInStudy": modalities,
            "NumberOfStudyRelatedSeries": len(self.numbers),
            "NumberOfStudyRelatedInstances": sum(self.numbers.values()),
            "InstanceAvailability": "ONLINE",
            "RetrieveURL": f"{base}/studies/{self.uid}",
        }

    def series_values(self, uid: str, told: Told, base: str) -> Values:
        fields = told.fields.series
        return {
            **self.values(base),
            "SeriesInstanceUID": uid,
            "Modality": fields.get("modality"),
            "SeriesNumber": fields.get("number"),
            "SeriesDescription": fields.get("description"),
            "BodyPartExamined": fields.get("body_part"),
            "Manufacturer": told.fields.device.get("manufacturer"),
            "NumberOfSeriesRelatedInstances": self.numbers[uid],
            "RetrieveURL": f"{base}/studies/{self.uid}/series/{uid}",
        }


def _instances(archive: Archive, series: Values, matching: Mapping[str, str], base: str) -> Iterator[Values]:
    study_uid, series_uid = str(series["StudyInstanceUID"]), str(series["SeriesInstanceUID"])
    fields = archive.instance_fields(study_uid, series_uid)
    for item in archive.served(study_uid, series_uid):
        values = {**series, **_instance_values(item, fields.get(item.id, {}))}
        values["RetrieveURL"] = f"{base}/studies/{study_uid}/series/{series_uid}/instances/{item.sop_instance_uid}"
        if all_match(values, matching, _INSTANCE_KEYS):
            yield values


def _instance_values(item: Served, fields: JsonObject) -> Values:
    return {
        "SOPInstanceUID": item.sop_instance_uid,
        "SOPClassUID": item.sop_class_uid,
        "InstanceNumber": fields.get("number"),
        "NumberOfFrames": fields.get("frames"),
        "AvailableTransferSyntaxUID": item.transfer_syntax_uid,
    }


def _header_values(told: Told) -> Values:
    patient, study = told.fields.patient, told.fields.study
    identifier = identifier_of(told.patient_key)
    started = str(study.get("started") or "")
    return {
        "StudyInstanceUID": told.study_uid,
        "StudyDate": started[:10].replace("-", ""),
        "StudyTime": started[11:19].replace(":", ""),
        "AccessionNumber": study.get("accession"),
        "StudyID": study.get("id"),
        "StudyDescription": study.get("description"),
        # Whose it is now: a person may have corrected what the header says.
        "PatientID": identifier[1] if identifier else "",
        "PatientName": _person_name(patient.get("name") or {}),
        "PatientBirthDate": str(patient.get("birth_date") or "").replace("-", ""),
        "PatientSex": _SEXES.get(str(patient.get("gender")), ""),
    }


def _person_name(name: JsonObject) -> str:
    """PS3.5 6.2.1: family^given^middle^prefix^suffix."""
    given = [str(part) for part in name.get("given", ())]
    parts = [str(name.get("family", "")), *given[:1], " ".join(given[1:])] if given else [str(name.get("family", "")), "", ""]
    parts += [" ".join(map(str, name.get("prefix", ()))), " ".join(map(str, name.get("suffix", ())))]
    return "^".join(parts).rstrip("^")


def all_match(values: Values, matching: Mapping[str, str], keys: frozenset[str]) -> bool:
    return all(_match(keyword, values.get(keyword), wanted) for keyword, wanted in matching.items() if keyword in keys)


def _match(keyword: str, value: str | list[str] | int | None, wanted: str) -> bool:
    """PS3.4 C.2.2.2: single value, list of UIDs, range of dates, wild card."""
    if keyword.endswith("UID"):
        return str(value) in re.split(r"[,\\]", wanted)
    if keyword.endswith(("Date", "Time")) and "-" in wanted:
        low, _, high = wanted.partition("-")
        text = str(value or "")
        return bool(text) and (not low or text >= low) and (not high or text[: len(high)] <= high)
    fold: Callable[[str], str] = str.casefold if keyword == "PatientName" else str
    texts = [fold(item) for item in (value if isinstance(value, list) else [str(value if value is not None else "")])]
    choices = re.split(r"[,\\]", wanted) if keyword == "ModalitiesInStudy" else [wanted]
    return any(fnmatch.fnmatchcase(text, fold(choice).replace("[", "[[]")) for text in texts for choice in choices)


def dicom_json(values: Values) -> JsonObject:
    """PS3.18 F.2: by tag; what is empty keeps its place without a value."""
    found: dict[str, JsonObject] = defaultdict(dict)
    for keyword, value in values.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            continue
        vr = _VRS.get(keyword, "LO")
        entry: JsonObject = {"vr": vr}
        if value not in (None, "", []):
            plain = value if isinstance(value, list) else [value]
            entry["Value"] = [{"Alphabetic": value}] if vr == "PN" else plain
        found[f"{int(tag):08X}"] = entry
    return dict(sorted({**found, "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}.items()))


_VRS = {
    "StudyInstanceUID": "UI", "SeriesInstanceUID": "UI", "SOPInstanceUID": "UI", "SOPClassUID": "UI", "AvailableTransferSyntaxUID": "UI",
    "StudyDate": "DA", "PatientBirthDate": "DA", "StudyTime": "TM", "PatientName": "PN", "AccessionNumber": "SH", "StudyID": "SH",
    "PatientSex": "CS", "ModalitiesInStudy": "CS", "Modality": "CS", "BodyPartExamined": "CS", "InstanceAvailability": "CS",
    "SeriesNumber": "IS", "InstanceNumber": "IS", "NumberOfFrames": "IS", "NumberOfStudyRelatedSeries": "IS",
    "NumberOfStudyRelatedInstances": "IS", "NumberOfSeriesRelatedInstances": "IS", "RetrieveURL": "UR",
}  # fmt: skip
