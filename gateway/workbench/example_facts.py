"""The documents and results of one record, as rendering would see them: for inline tests and ``explain`` of a single file."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.fhir.facts import administration_fields, document_scope, grouped, made_of, result_scope
from gateway.gather.dossier import gather_dossier
from gateway.mapping.language import Mapping
from gateway.mapping.template import ResourceTemplate
from gateway.model import Dossier, JsonObject, Record

_STUDY = "ImagingStudy/example"


def gathered(record: Record) -> Dossier:
    """What a dossier of nothing but this record comes to."""
    return gather_dossier("example|example", [record.shared], known={}, mint=lambda alias: alias)


def study_of(record: Record) -> JsonObject:
    """The study of a record, as facts refer to it."""
    told = record.shared.study
    return {
        "reference": _STUDY,
        **{name: told[name] for name in ("accession", "accession_issuer") if name in told},
        "uid": str(told.get("uid") or ""),
    }


def facts(mapping: Mapping, record: Record, refs: JsonObject) -> Iterator[tuple[ResourceTemplate, JsonObject]]:
    """The templates per document and per result of which something is made, each with what it is filled from."""
    if not (record.shared.document or record.shared.results):
        return
    dossier = gathered(record)
    patient = {"key": "example", **record.shared.patient}
    administrations = {item.key: administration_fields(item) for item in dossier.administrations}
    documents = {item.key: item for item in dossier.documents}
    studies = [study_of(record)]
    results: list[JsonObject] = []
    groups = grouped(dossier.results, {item.key: "Observation/example" for item in dossier.results})
    of_documents = {template.name: f"{template.resource_type}/example" for template in _per(mapping, "document")}
    for item in dossier.results:
        administration = administrations.get(item.administration or "")
        scope = result_scope(item, documents[item.document], administration, patient, studies)
        scope["result"] |= {"related": groups[item.key], "made_of": made_of(item.kind, groups[item.key])}
        results.append({**scope["result"], "reference": "Observation/example"})
        wanted = [one for one in _per(mapping, "result") if not one.kinds or item.kind in one.kinds]
        linked = (
            refs if administration else {name: value for name, value in refs.items() if not _of_administration(mapping, name)}
        )
        own = {**linked, **of_documents, **{one.name: f"{one.resource_type}/example" for one in wanted if one.identify(scope)}}
        yield from ((one, {**scope, "refs": own}) for one in wanted if one.name in own)
    for document in dossier.documents:
        scope = document_scope(document, patient, studies, list(administrations.values()))
        scope["results"] = results
        wanted = [one for one in _per(mapping, "document") if one.identify(scope)]
        yield from ((one, {**scope, "refs": {**refs, **of_documents}}) for one in wanted)


def _per(mapping: Mapping, per: str) -> list[ResourceTemplate]:
    return [template for template in mapping.resources.values() if template.per == per]


def _of_administration(mapping: Mapping, name: str) -> bool:
    return name in mapping.resources and mapping.resources[name].per == "administration"
