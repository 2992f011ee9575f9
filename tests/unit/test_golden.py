"""Golden cases: an object, what the mapping reads from it, and the FHIR that leaves the house, byte for byte."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest

from gateway import yamlfile
from gateway.config import Settings
from gateway.dicom.reading import header_of
from gateway.fhir.identity import Identity
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.gather.study import Member, gather_study
from gateway.mapping.example import encode
from gateway.mapping.language import load
from gateway.model import Json, Record
from gateway.normalise.record import SiteContext
from gateway.r4 import canonical
from gateway.understanding import Understanding

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted(path for path in (ROOT / "tests" / "golden").iterdir() if path.is_dir())
RECORDED = "2026-03-02T12:00:00.000+00:00"


@pytest.fixture(scope="module")
def understanding() -> Understanding:
    site = Settings().site
    mappings = load(ROOT / "mappings")
    renderer = Renderer(mappings, Identity(b"golden key of 32 bytes and more!"), accession_system=site.accession_system)
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=site.zone),
        patients=PatientKeys(system=site.patient_id_system),
        renderer=renderer,
    )


def bundles_of(records: list[Record], understanding: Understanding) -> list[Json]:
    """The study of each object (each has its own), then what the patient was given."""
    bundles, shared = [], [record.shared for record in records]
    for record in records:
        key = understanding.patients.of(record.shared)
        member = Member(member_id=1, patient_key=key, shared=record.shared, instance=record.instance)
        study = gather_study(str(record.shared.study["uid"]), [member])
        bundles.append(understanding.study_bundle(study, shared, recorded=RECORDED).body)
    dossier = understanding.dossier(key, shared, {})
    if dossier.administrations or dossier.documents:
        bundles.append(understanding.renderer.dossier(dossier, recorded=RECORDED).body)
    return bundles


def record_json(record: Record) -> Json:
    shared = record.shared
    return {
        "mapping": shared.mapping,
        "patient": shared.patient,
        "study": shared.study,
        "series": shared.series,
        "device": shared.device,
        "administrations": list(shared.administrations),
        **({"document": shared.document} if shared.document else {}),
        **({"results": list(shared.results)} if shared.results else {}),
        "instance": record.instance,
        "issues": [issue.as_json() for issue in (*shared.issues, *record.issues)],
        "sources": shared.sources,
    }


def pretty(tree: Json) -> str:
    """Laid out for people; the numbers stay the text that our encoder wrote. Versions of mappings are no part of a case."""
    written = msgspec.json.format(canonical.encode(tree), indent=2).decode() + "\n"
    return re.sub(r'"(\w+)@[0-9a-f]{12}"', r'"\1@version"', written)


def compare(path: Path, tree: Json, *, update: bool) -> None:
    written = pretty(tree)
    if update:
        path.write_text(written)
    assert path.exists(), f"{path} is missing; run make golden and read it"
    assert path.read_text() == written


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_a_golden_case_gives_the_same_record_and_the_same_fhir(
    case: Path, understanding: Understanding, update_golden: bool
) -> None:
    tree = yamlfile.read(case / "instance.yaml").data
    record = understanding.understand(header_of(encode(tree)))
    compare(case / "record.json", record_json(record), update=update_golden)
    records = [record]
    if (case / "also.yaml").exists():
        records.append(understanding.understand(header_of(encode(yamlfile.read(case / "also.yaml").data))))
    compare(case / "bundle.json", bundles_of(records, understanding), update=update_golden)


def test_mapping_version_and_time_are_outside_the_content(understanding: Understanding) -> None:
    tree = yamlfile.read(CASES[0] / "instance.yaml").data
    record = understanding.understand(header_of(encode(tree)))
    key = understanding.patients.of(record.shared)
    study = gather_study("2.25.2", [Member(member_id=1, patient_key=key, shared=record.shared, instance=record.instance)])
    early = understanding.study_bundle(study, [record.shared], recorded=RECORDED)
    late = understanding.study_bundle(study, [record.shared], recorded="2027-01-01T00:00:00.000+00:00")
    assert early.content_hash == late.content_hash
    assert early.body != late.body
    edited = dataclasses.replace(study, mapping_versions=tuple(f"{name}1" for name in study.mapping_versions))
    assert understanding.study_bundle(edited, [record.shared], recorded=RECORDED).content_hash == early.content_hash
    joined = dataclasses.replace(study, mapping_versions=(*study.mapping_versions, "other@1"))
    assert understanding.study_bundle(joined, [record.shared], recorded=RECORDED).content_hash != early.content_hash
