"""A DICOMweb server as a source: QIDO-RS lists (PS3.18 10.6), WADO-RS fetches (10.4), each object in the encoding in which it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from gateway.backfill.http import SourceHttp
from gateway.backfill.source import Taker
from gateway.spool.backfills import StudyRef

_STUDY_UID, _SERIES_UID, _INSTANCE_UID, _MODALITY = "0020000D", "0020000E", "00080018", "00080060"
_PAGE = 200
#: PS3.18 8.7.3.5: whatever encoding it has.
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class DicomwebSource:
    def __init__(self, http: SourceHttp) -> None:
        self._http = http

    def studies(self, day: str, modalities: Sequence[str]) -> list[StudyRef]:
        found: dict[str, StudyRef] = {}
        for modality in modalities or ("",):  # several values of one key are not understood everywhere
            query = {"StudyDate": day.replace("-", ""), **({"ModalitiesInStudy": modality} if modality else {})}
            for item in self._pages("studies", query):
                uid = _value(item, _STUDY_UID)
                found.setdefault(uid, StudyRef(study_uid=uid, day=day))
        found.pop("", None)
        return list(found.values())

    def fetch(self, study: StudyRef, modalities: Sequence[str], taker: Taker) -> None:
        for series in self._pages(f"studies/{study.study_uid}/series", {}):
            if modalities and _value(series, _MODALITY) not in modalities:
                continue
            address = f"studies/{study.study_uid}/series/{_value(series, _SERIES_UID)}/instances"
            for instance in self._pages(address, {}):
                for part in self._http.get_parts(f"{address}/{_value(instance, _INSTANCE_UID)}", accept=_AS_STORED):
                    taker.take(part)

    def _pages(self, address: str, query: dict[str, str]) -> list[Any]:
        """All pages; a server that knows no offset repeats itself, which ends it."""
        found: list[Any] = []
        while True:
            page = self._http.get_json(f"{address}?{urlencode({**query, 'limit': _PAGE, 'offset': len(found)})}")
            if not page or (found and page[0] == found[0]):
                return found
            found.extend(page)
            if len(page) < _PAGE:
                return found


def _value(item: Any, tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])
