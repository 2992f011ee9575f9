"""One access, as it is kept, and as R4 AuditEvent (auditevent.html; codes of IHE BALP, RESTful activities)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import msgspec

from gateway.model import JsonObject

_TYPES = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_INTERACTIONS = "http://hl7.org/fhir/restful-interaction"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_OBJECT = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
#: Interaction -> R4 AuditEvent.action: Create, Read, Update, Delete, Execute.
_ACTIONS = {
    "create": "C",
    "read": "R",
    "vread": "R",
    "history-instance": "R",
    "update": "U",
    "patch": "U",
    "delete": "D",
    "search": "E",
    "history-type": "E",
    "history-system": "E",
    "operation": "E",
    "transaction": "E",
}
#: PS3.16 CID 400, Audit Event ID.
_DICOM = {
    "login": ("110114", "User Authentication"),
    "dicom": ("110103", "DICOM Instances Accessed"),
    "query": ("110112", "Query"),
}


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One access. It holds the names of search parameters and never their values: these can be a patient's.

    ``what`` is an interaction of FHIR REST, or ``dicom``, ``query`` (QIDO-RS), ``store``, ``page``, ``login``, ``token``;
    ``kind`` and ``id`` name the resource, or the study by its UID. ``at`` is seconds since 1970, UTC.
    """

    key: str
    at: float
    who: str
    way: str
    peer: str
    what: str
    status: int
    kind: str = ""
    id: str = ""
    group: str = ""
    parameters: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()


def audit_event(record: Record, *, site: str) -> JsonObject:
    """As a FHIR resource."""
    resource: JsonObject = {
        "resourceType": "AuditEvent",
        "id": record.key,
        "type": _type(record),
        "action": _ACTIONS.get(record.what, "C" if record.what == "store" else "E" if record.what in ("login", "token") else "R"),
        "recorded": dt.datetime.fromtimestamp(record.at, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "outcome": _outcome(record.status),
        "outcomeDesc": f"HTTP {record.status}",
        "agent": [_agent(record)],
        "source": {"site": site, "observer": {"display": "Isobridge"}},
    }
    if record.what in _ACTIONS:
        resource["subtype"] = [{"system": _INTERACTIONS, "code": _interaction(record.what)}]
    if entities := [*_entities(record)]:
        resource["entity"] = entities
    return resource


def _type(record: Record) -> JsonObject:
    if record.what in _DICOM:
        code, display = _DICOM[record.what]
        return {"system": _DCM, "code": code, "display": display}
    if record.what in _ACTIONS:
        return {"system": _TYPES, "code": "rest", "display": "RESTful Operation"}
    if record.what == "token":
        return {"system": _DCM, "code": "110114", "display": "User Authentication"}
    if record.what == "store":
        return {"system": _DCM, "code": "110104", "display": "DICOM Instances Transferred"}
    return {"system": _DCM, "code": "110100", "display": "Application Activity"}


def _interaction(what: str) -> str:
    return {"search": "search-type"}.get(what, what)


def _outcome(status: int) -> str:
    return "0" if status < 400 else "4" if status < 500 else "8"


def _agent(record: Record) -> JsonObject:
    agent: JsonObject = {"name": record.who, "requestor": True}
    if record.who:
        agent["altId"] = record.who
    else:
        agent["name"] = "unknown"
    if record.peer:
        agent["network"] = {"address": record.peer, "type": "2"}
    return agent


def _entities(record: Record) -> Sequence[JsonObject]:
    found: list[JsonObject] = []
    if record.kind:
        found.append(_object(record))
    for patient in record.patients:
        found.append(
            {
                "what": {"reference": f"Patient/{patient}"},
                "type": {"system": _OBJECT, "code": "1", "display": "Person"},
                "role": {"system": _ROLE, "code": "1", "display": "Patient"},
            }
        )
    if record.group:
        found.append({"what": {"reference": f"Group/{record.group}"}, "description": "all that this client may see"})
    return found


def _object(record: Record) -> JsonObject:
    entity: JsonObject = {"type": {"system": _OBJECT, "code": "2", "display": "System Object"}}
    if record.id and record.what in ("dicom", "query", "store", "page"):
        entity["what"] = {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{record.id}"}}
    elif record.id:
        entity["what"] = {"reference": f"{record.kind}/{record.id}"}
    else:
        entity["description"] = record.kind
    if record.parameters:
        entity["detail"] = [{"type": "parameter", "valueString": name} for name in record.parameters]
    return entity
