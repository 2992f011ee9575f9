"""What templates read of an administration as an act: its summary in words, who authorised it, its study, its therapy. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from gateway.model import Administration, Document, DoseResult, JsonObject
from gateway.nuclear.results import THERAPEUTIC

#: Person Role in Procedure: Irradiation Authorizing (PS3.16 CID 10033).
AUTHORIZING = "113850"
_THERAPY, _DIAGNOSTIC = "therapeutic", "diagnostic"


def act_fields(
    item: Administration,
    patient: JsonObject,
    studies: Sequence[JsonObject],
    documents: Iterable[Document] = (),
    results: Iterable[DoseResult] = (),
) -> JsonObject:
    """``documents`` and ``results`` of the whole patient: those that belong to this administration are picked."""
    own_documents = [one for one in documents if item.key in one.administrations and not one.superseded]
    own_results = [one for one in results if one.administration == item.key]
    summary = summary_words(item.fields)
    return {
        "summary": {"of": item.key, "text": summary} if summary else None,
        "authorizer": authorizing(item.fields.get("persons", ())),
        "study": _study(studies, own_documents),
        "document_uids": sorted(uid for one in own_documents if (uid := str(one.fields.get("uid") or ""))),
        **_therapy(item, str(patient.get("key", "")), own_documents, own_results),
    }


def authorizing(persons: Iterable[JsonObject]) -> JsonObject | None:
    """The one person who authorised an irradiation; ``None`` where nobody is named, or several are."""
    found = [one for one in persons if (one.get("role") or {}).get("code") == AUTHORIZING]
    return found[0] if len(found) == 1 and "name" in found[0] else None


def summary_words(fields: JsonObject) -> str | None:
    """The one wording of a radiation dose summary; ``None`` without activity or start: there is no dose to sum up."""
    activity, started = fields.get("activity"), fields.get("started_at")
    if not activity or not started:
        return None
    nuclide, agent, route = ((fields.get(name) or {}).get("text") for name in ("radionuclide", "agent", "route"))
    what = agent if agent and str(nuclide or "") in agent else " ".join(word for word in (nuclide, agent) if word)
    how = f", {route}" if route else ""
    return (
        f"Administered activity {_plain(activity['value'])} {activity['unit']} of {what or 'radiopharmaceutical'}{how}, {started}"
    )


def dose_length_words(fields: JsonObject) -> str | None:
    """The same for the CT of a study: its total dose-length product."""
    value, code = fields.get("value"), (fields.get("code") or {}).get("code")
    if fields.get("kind") != "ct-dose" or code != "113813" or not value:
        return None
    return f"CT dose-length product total {_plain(value['value'])} {value['unit']}"


def _plain(number: Decimal | int) -> str:
    return format(Decimal(number), "f")


def _study(studies: Sequence[JsonObject], documents: Sequence[Document]) -> JsonObject | None:
    """The study of the act: the only one, else that of the reports that tell of it, if they stand in one."""
    told = {one.study_uid for one in documents if one.study_uid}
    found = list(studies) if len(studies) == 1 else [one for one in studies if {one.get("uid")} == told]
    return found[0] if len(found) == 1 else None


def _therapy(item: Administration, patient_key: str, documents: Sequence[Document], results: Sequence[DoseResult]) -> JsonObject:
    """Of a therapy only where a source says so: the key of its course (one agent, one patient) and the number of the cycle."""
    uses = {str(one.fields["use"]) for one in results if one.fields.get("use")}
    for document in documents:
        code = (document.fields.get("intent") or {}).get("code")
        uses |= {_THERAPY} if code in THERAPEUTIC else {_DIAGNOSTIC} if code else set()
    if uses != {_THERAPY}:
        return {}
    agent = item.fields.get("agent") or item.fields.get("radionuclide") or {}
    return {"therapy": {"course": f"{patient_key}|{agent.get('code') or agent.get('text') or ''}", "cycle": _cycle(results)}}


def _cycle(results: Sequence[DoseResult]) -> int | None:
    told = {one.fields.get("cycle") or (one.fields.get("administration") or {}).get("cycle") for one in results} - {None}
    return told.pop() if len(told) == 1 else None
