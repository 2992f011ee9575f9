"""An Orthanc as a source, by its REST API: files as they stand there, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.backfill.http import SourceHttp
from gateway.backfill.source import Taker
from gateway.spool.backfills import StudyRef


class OrthancSource:
    def __init__(self, http: SourceHttp) -> None:
        self._http = http

    def studies(self, day: str, modalities: Sequence[str]) -> list[StudyRef]:
        query = {"StudyDate": day.replace("-", "")}
        if modalities:
            query["ModalitiesInStudy"] = "\\".join(modalities)
        told = self._http.post_json("tools/find", {"Level": "Study", "Query": query, "Expand": True})
        return [
            StudyRef(study_uid=item["MainDicomTags"].get("StudyInstanceUID", ""), day=day, handle=item["ID"]) for item in told
        ]

    def fetch(self, study: StudyRef, modalities: Sequence[str], taker: Taker) -> None:
        for series in self._http.get_json(f"studies/{study.handle}/series"):
            if modalities and series["MainDicomTags"].get("Modality", "") not in modalities:
                continue
            instances: list[Any] = series["Instances"]
            for identifier in sorted(instances):
                taker.take(self._http.get_bytes(f"instances/{identifier}/file"))
