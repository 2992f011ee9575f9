"""The CapabilityStatement: what this endpoint really does, derived from the definitions it works with."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import __version__
from gateway.fhir.radiation_dose_summary import MODALITY_DEVICE, RDS
from gateway.model import JsonObject
from gateway.r4 import definitions
from gateway.r4.definitions import SearchParameter
from gateway.r4.published import profiles_of, unstored
from gateway.web.export import EXPORTS
from gateway.web.fhir_entries import RESERVED

#: Profiles of HL7 that resources claim.
_OF_HL7 = {"Observation": (RDS,), "Device": (MODALITY_DEVICE,)}
_INTERACTIONS = ("read", "vread", "history-instance", "history-type", "search-type")
#: What finds a record of the audit trail.
AUDIT_SEARCH = ("agent-name", "date", "patient")
#: What finds a concept map: name -> type (R4 conceptmap.html#search).
CONCEPT_MAP_SEARCH = {"_id": "token", "url": "uri", "name": "string", "version": "token", "status": "token"}


#: What the write mode adds, for types that others may write.
_CHANGES = ("create", "update", "delete")


def capability_statement(*, base: str, site: str, since: str, security: JsonObject, writable: bool = False) -> JsonObject:
    """``since``: when this server was started, as an instant. ``writable``: the write mode is on; ``security``: how clients get in."""
    bundles = ("batch", "transaction") if writable else ("batch",)
    changing = "Trusted clients write, but not what this gateway published itself. " if writable else "Read-only for clients. "
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": since,
        "kind": "instance",
        "software": {"name": "Isobridge", "version": __version__},
        "implementation": {"description": f"Isobridge FHIR endpoint, site {site}", "url": base},
        "instantiates": ["http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"],
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json", "xml", "application/fhir+xml"],
        "rest": [
            {
                "mode": "server",
                "documentation": f"{changing}Chains of up to three links, reverse chaining (_has) and composite parameters are supported.",
                "security": security,
                "interaction": [{"code": code} for code in ("history-system", *bundles)],
                "resource": [_resource(kind, writable and kind not in RESERVED) for kind in sorted(definitions.resource_types())]
                + _concept_maps(),
                "operation": [{"name": name, "definition": url} for name, url in EXPORTS.items()],
                "compartment": ["http://hl7.org/fhir/CompartmentDefinition/patient"],
            }
        ],
    }


def _resource(kind: str, writable: bool) -> JsonObject:
    parameters = list(definitions.search_parameters()[kind].values())
    if kind == "AuditEvent":
        return _audit_events(parameters)
    references = [item.code for item in parameters if item.type == "reference"]
    statement: JsonObject = {
        "type": kind,
        "interaction": [{"code": code} for code in (*_INTERACTIONS, *(_CHANGES if writable else ()))],
        "versioning": "versioned",
        "readHistory": True,
        "updateCreate": writable,
        **({"conditionalCreate": True} if writable else {}),
        "conditionalRead": "full-support",
        **({"conditionalUpdate": True, "conditionalDelete": "single"} if writable else {}),
        "referencePolicy": ["literal", "logical"],
    }
    profiles = [*profiles_of(kind), *_OF_HL7.get(kind, ())]
    if profiles:
        statement["supportedProfile"] = profiles
    if references:
        statement["searchInclude"] = ["*", *(f"{kind}:{code}" for code in references)]
    if incoming := _incoming(kind):
        statement["searchRevInclude"] = ["*", *incoming]
    statement["searchParam"] = [_parameter(item) for item in parameters]
    if kind == "Patient":
        definition = "http://hl7.org/fhir/OperationDefinition/Patient-everything"
        statement["operation"] = [{"name": "everything", "definition": definition}]
    return statement


def _audit_events(parameters: Sequence[SearchParameter]) -> JsonObject:
    """They come from the audit trail, not from the store."""
    searched = [_parameter(item) for item in parameters if item.code in AUDIT_SEARCH]
    interactions = [{"code": code} for code in ("read", "search-type")]
    return {"type": "AuditEvent", "interaction": interactions, "versioning": "no-version", "searchParam": searched}


def _parameter(item: SearchParameter) -> JsonObject:
    definition = {"definition": item.definition} if item.definition else {}
    return {"name": item.code, **definition, "type": item.type}


def _incoming(kind: str) -> list[str]:
    return [
        f"{source}:{item.code}"
        for source in sorted(definitions.resource_types())
        for item in definitions.search_parameters()[source].values()
        if item.type == "reference" and kind in item.targets
    ]


def _concept_maps() -> list[JsonObject]:
    """Our own concept maps, the only ones: they are read from the package."""
    if not unstored("ConceptMap"):
        return []
    parameters = [{"name": name, "type": kind} for name, kind in CONCEPT_MAP_SEARCH.items()]
    interactions = [{"code": code} for code in ("read", "search-type")]
    return [{"type": "ConceptMap", "interaction": interactions, "searchParam": parameters}]
