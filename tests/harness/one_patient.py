"""Files that are taken as one patient's, as after ``isobridge study accept``: rendered as the gateway would, with one of them changed."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from gateway.config import Settings
from gateway.dicom.reading import header_of
from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.gather.study import Member, gather_study
from gateway.mapping.language import load
from gateway.model import JsonObject, Record
from gateway.normalise.record import SiteContext
from gateway.r4.bundles import resources_of
from gateway.understanding import Understanding

MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
RECORDED = "2026-03-02T12:00:00.000+00:00"


def shipped() -> Understanding:
    """The shipped mappings with default settings and a fixed key."""
    site, mappings = Settings().site, load(MAPPINGS)
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=site.zone),
        patients=PatientKeys(system=site.patient_id_system),
        renderer=Renderer(mappings, Identity(b"a key of thirty-two bytes, or so"), accession_system=site.accession_system),
    )


class OnePatient:
    """Files that are taken as one patient's, rendered with one of them changed."""

    def __init__(self, paths: Sequence[Path], understanding: Understanding) -> None:
        self.understanding = understanding
        self._records = {path: understanding.read(path) for path in paths}
        self._key = understanding.patients.of(next(iter(self._records.values())).shared)

    def record(self, path: Path) -> Record:
        return self._records[path]

    def resources(self, path: Path | None = None, changed: Dataset | Record | None = None) -> list[JsonObject]:
        """All resources but Provenance, with one file changed, or what was read of it. Raises :class:`~gateway.errors.Quarantined`."""
        records = dict(self._records)
        if path is not None and changed is not None:
            read = changed if isinstance(changed, Record) else self.understanding.understand(header_of(encoded(changed)))
            records[path] = read
        return [*self._study(records), *self._dossier(records)]

    def _dossier(self, records: dict[Path, Record]) -> list[JsonObject]:
        shared = list({record.shared.key: record.shared for record in records.values()}.values())
        bundle = self.understanding.dossier_bundle(self.understanding.dossier(self._key, shared, {}), shared, recorded=RECORDED)
        return _told(resources_of(bundle.body)) if bundle else []

    def _study(self, records: dict[Path, Record]) -> list[JsonObject]:
        told: list[JsonObject] = []
        for uid in sorted({str(record.shared.study["uid"]) for record in records.values()}):
            members = [
                Member(member_id=number, patient_key=self._key, shared=record.shared, instance=record.instance)
                for number, record in enumerate(records.values())
                if record.shared.study["uid"] == uid
            ]
            shared = [member.shared for member in members]
            bundle = self.understanding.study_bundle(gather_study(uid, members), shared, recorded=RECORDED)
            told += [one for one in _told(resources_of(bundle.body)) if one["resourceType"] != "Patient"]
        return told


def _told(resources: Sequence[JsonObject]) -> list[JsonObject]:
    return [one for one in resources if one["resourceType"] != "Provenance"]


def encoded(document: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()


Leaf = tuple[str, str, str]


def leaves(resources: Sequence[JsonObject]) -> Counter[Leaf]:
    """Every value with its element, and its unit where it has one; an Observation is named by its code. No ids of ours."""
    return Counter(leaf for one in resources for leaf in _below(_name(one), one, ""))


def _name(resource: JsonObject) -> str:
    coding: JsonObject = next(iter((resource.get("code") or {}).get("coding", ())), {})
    kind = resource["resourceType"]
    return f"{kind} {coding['code']}" if kind == "Observation" and "code" in coding else str(kind)


def _below(path: str, node: Any, unit: str) -> Iterator[Leaf]:
    if isinstance(node, dict):
        own = str(node["code"]) if "value" in node and "code" in node else unit
        step = _component(path, node)
        for name, child in node.items():
            if name not in ("id", "reference", "meta"):
                yield from _below(f"{step}.{name}", child, own)
    elif isinstance(node, list):
        for child in node:
            yield from _below(path, child, unit)
    else:
        yield path, str(node), unit


def _component(path: str, node: JsonObject) -> str:
    coding = (
        (node.get("code") or {}).get("coding") if isinstance(node.get("code"), dict) and path.endswith(".component") else None
    )
    return f"{path}[{coding[0]['code']}]" if coding and "code" in coding[0] else path
