"""Documents and results of a dossier as resources: both refer to each other, so all are named before one is rendered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gateway.fhir.facts import document_scope, grouped, made_of, result_scope
from gateway.fhir.resources import Resources
from gateway.mapping.template import ResourceTemplate
from gateway.model import Document, DoseResult, Dossier, JsonObject


@dataclass(frozen=True, slots=True)
class Room:
    """What rendering lends: the bundle, templates of a mapping, references of studies and of anything by its business key."""

    resources: Resources
    templates_of: Callable[[str], list[ResourceTemplate]]
    studies: Callable[[Iterable[str]], list[JsonObject]]
    reference: Callable[[str, str], str]
    images_at: str | None


def put_results(room: Room, dossier: Dossier, scopes: dict[str, JsonObject], refs: dict[str, JsonObject]) -> None:
    """Render. ``scopes`` are those of the administrations by id, ``refs`` what was made of them, and of the patient under ""."""
    documents = {item.key: item for item in dossier.documents}
    told = {item.document for item in dossier.results} | {item.key for item in dossier.documents if item.issues}
    bound: dict[str, set[str]] = defaultdict(set)
    for one in dossier.results:
        bound[one.document] |= {one.administration} if one.administration else set()
    named = {
        item.key: _named_document(room, item, dossier, scopes, sorted(bound[item.key]), has_results=item.key in told)
        for item in dossier.documents
    }
    made = {item.key: _named_result(room, item, documents, dossier, scopes) for item in dossier.results}
    groups = grouped(dossier.results, {key: reference for key, (_, reference) in made.items() if reference})
    for item in dossier.results:
        scope, _ = made[item.key]
        members = [made[key][1] for key in item.fields.get("members", ()) if key in made]
        scope["result"]["parts"] = [{"reference": reference} for reference in members if reference]
        scope["result"] |= {"related": groups[item.key], "made_of": made_of(item.kind, groups[item.key])}
        own = refs.get(item.administration or "") or refs[""]
        room.resources.put_all(_templates(room, item), "result", scope, {**named[item.document][1], **own})
    for document in dossier.documents:
        scope, _ = named[document.key]
        facts = [made[item.key] for item in dossier.results if item.document == document.key]
        scope["results"] = [{**inner["result"], "reference": reference} for inner, reference in facts if reference]
        only = refs.get(document.administrations[0]) if len(document.administrations) == 1 else None
        room.resources.put_all(room.templates_of(document.mapping), "document", scope, only or refs[""])


def _templates(room: Room, item: DoseResult) -> list[ResourceTemplate]:
    return [one for one in room.templates_of(item.mapping) if not one.kinds or item.kind in one.kinds]


def _named_document(
    room: Room, item: Document, dossier: Dossier, scopes: dict[str, JsonObject], bound: Iterable[str], *, has_results: bool
) -> tuple[JsonObject, JsonObject]:
    """``bound``: the administrations of its results, for a document that tells of none itself, as a table."""
    known = {document.key for document in dossier.documents}
    scope = document_scope(
        item,
        dossier.patient,
        room.studies((item.study_uid,) if item.study_uid else ()),
        [scopes[key]["administration"] for key in item.administrations or bound if key in scopes],
        replaces=[room.reference("DocumentReference", key) for key in item.fields.get("predecessors", ()) if key in known],
        url=_url(item, room.images_at),
        has_results=has_results,
    )
    return scope, room.resources.names(room.templates_of(item.mapping), "document", scope)


def _url(item: Document, images_at: str | None) -> str | None:
    """Where the object can be had (DICOM PS3.18, RetrieveInstance); of a PDF the document inside (RetrieveRenderedInstance)."""
    uids = [item.fields.get(name) for name in ("study_uid", "series_uid", "uid")]
    if images_at is None or not all(uids):
        return None
    rendered = "/rendered" if item.fields.get("content_type") == "application/pdf" else ""
    return f"{images_at}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}{rendered}"


def _named_result(
    room: Room, item: DoseResult, documents: dict[str, Document], dossier: Dossier, scopes: dict[str, JsonObject]
) -> tuple[JsonObject, str | None]:
    """The scope of a result, and the reference of the Observation that it becomes."""
    administration = scopes.get(item.administration or "", {}).get("administration")
    traced = {uid for one in dossier.administrations for uid in one.study_uids}
    studies = room.studies(item.study_uids)
    scope = result_scope(item, documents[item.document], administration, dossier.patient, studies, traced)
    observations = [one for one in _templates(room, item) if one.resource_type == "Observation"]
    return scope, next(iter(room.resources.names(observations, "result", scope).values()), None)
