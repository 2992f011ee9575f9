"""What the page of one study is made of: its series, what was published, what became of it, which decisions can work. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.model import JsonObject
from gateway.r4.bundles import resources_of
from gateway.spool.studies import StudyFacts
from gateway.web import show
from gateway.web.cards import doses


def offers(view: JsonObject) -> JsonObject:
    """The decisions about a study that can change something now."""
    return {
        "accept": any(not patient["is_subject"] for patient in view["patients"]),
        "contents": [item for item in view["contents"] if any(content["selectable"] for content in item["contents"])],
        "reassign": bool(view["patients"]),
        "withdraw": not view["withdrawn"],
        "undo": any(item["kind"] != "undo" and not item["undone"] for item in view["decisions"]),
    }


def folded(deliveries: Sequence[JsonObject]) -> list[JsonObject]:
    """Deliveries as rows: those that are done are one row for each target and kind, whatever the number of versions."""
    rows: dict[object, JsonObject] = {}
    for item in deliveries:
        alike = (item["target"], item["kind"], item["state"]) if item["state"] in ("verified", "done") else item["id"]
        row = rows.setdefault(alike, {**item, "versions": [], "attempts": 0})
        row["versions"].append(item["version"])
        row["attempts"] += item["attempts"]
    return list(rows.values())


def why_withheld(facts: StudyFacts) -> str:
    """What the headers of a study had in place of an activity that can be published."""
    issues = [issue for header in facts.headers for issue in header.fields.issues if issue.field.endswith(".activity")]
    return " ".join(dict.fromkeys(f"The activity {issue.reason}." for issue in issues))


def series_title(series: JsonObject) -> str:
    parts = (str(series.get("modality", "")), str(series.get("description", "")))
    return " · ".join(part for part in parts if part) or "series without description"


def series_lines(facts: StudyFacts) -> list[JsonObject]:
    """One line for each series: what its headers say, how many objects in which state."""
    headers = {str(header.fields.series.get("uid")): header.fields for header in facts.headers}
    lines: dict[str, JsonObject] = {}
    for row in facts.series:
        uid = row["series_uid"]
        fields = headers.get(uid)
        line = lines.setdefault(
            uid,
            {
                "uid": uid,
                "fields": fields.series if fields else {},
                "mapping": fields.mapping if fields else "",
                "states": {},
                "bytes": 0,
            },
        )
        line["states"][row["state"]] = row["n"]
        line["bytes"] += int(row["size_bytes"])
    return sorted(lines.values(), key=lambda line: (line["fields"].get("number") or 2**31, line["uid"]))


def references(facts: StudyFacts, study: JsonObject) -> list[JsonObject]:
    """The resources of this study and of its administrations, with a word on each."""
    mine = {dose.reference for dose in doses(study, facts.dossier)}
    others = resources_of(facts.dossier) if facts.dossier else []
    wanted = [*(resources_of(facts.bundle) if facts.bundle else [])]
    wanted += [
        item
        for item in others
        if f"{item['resourceType']}/{item['id']}" in mine or mine & {str(p.get("reference")) for p in _links(item)}
    ]
    seen: dict[str, JsonObject] = {}
    for item in wanted:
        seen.setdefault(f"{item['resourceType']}/{item['id']}", item)
    return [{"reference": reference, "kind": item["resourceType"], "words": words_on(item)} for reference, item in seen.items()]


def _links(item: JsonObject) -> Sequence[JsonObject]:
    return [*item.get("partOf", ())] if isinstance(item.get("partOf"), list) else []


def words_on(item: JsonObject) -> str:
    """One line on a resource, for people."""
    if item["resourceType"] == "Patient":
        return show.person(item)
    if item["resourceType"] == "ImagingStudy":
        return f"{item.get('numberOfSeries', 0)} series, {item.get('numberOfInstances', 0)} objects, {item.get('status', '')}"
    if item["resourceType"] == "Device":
        return " ".join(str(item.get(key, "")) for key in ("manufacturer", "modelNumber")).strip()
    if item["resourceType"] == "MedicationAdministration":
        dose = item.get("dosage", {}).get("dose")
        return f"{show.fhir(dose) if dose else 'activity withheld'}, {item.get('status', '')}"
    if item["resourceType"] == "Observation":
        return f"{show.fhir(item.get('code', {}))}: {_observed(item)}"
    if item["resourceType"] == "Endpoint":
        return str(item.get("address", ""))
    if item["resourceType"] == "Provenance":
        return _decided(item) or "from which objects, by which mapping"
    return ""


def _observed(item: JsonObject) -> str:
    """The value of an Observation, in words; one that is told by its components alone says so."""
    value = next((item[name] for name in ("valueQuantity", "valueCodeableConcept", "valueString") if name in item), None)
    if value is not None:
        return show.fhir(value)
    parts = len(item.get("component", ()))
    return f"{parts} {'value' if parts == 1 else 'values'}" if parts and "dataAbsentReason" not in item else "withheld"


def _decided(item: JsonObject) -> str:
    """What a Provenance says of the decision of a person; nothing when it tells of the gateway's own work."""
    reasons = " ".join(str(reason.get("text", "")) for reason in item.get("reason", ()))
    by = ", ".join(str(agent.get("who", {}).get("display", "")) for agent in item.get("agent", ()))
    return f"decision of {by}: {item.get('activity', {}).get('text', '')}. Reason: {reasons}" if reasons else ""
