"""``rest.security`` of the CapabilityStatement: how a client gets in, told by the settings that decide it. Pure."""

from __future__ import annotations

from gateway.config import Settings
from gateway.model import JsonObject

_SERVICES = "http://terminology.hl7.org/CodeSystem/restful-security-service"
#: SMART App Launch 2.2, conformance.html: where a token is had, for clients that do not look at .well-known.
_OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


def security(settings: Settings, token_url: str) -> JsonObject:
    """``token_url``: where clients that have a key get a token."""
    clients = [one for one in settings.clients if one.enabled]
    has_keys = any(one.keys is not None or one.keys_file is not None for one in clients)
    services = [
        *(["SMART-on-FHIR"] if has_keys else []),
        *(["OAuth"] if has_keys or any(one.issuer for one in clients) else []),
        *(["Basic"] if settings.web.users else []),
    ]
    ways = [
        *(["SMART Backend Services (private_key_jwt)"] if has_keys else []),
        *(["tokens of another issuer"] if any(one.issuer for one in clients) else []),
        *(["bearer tokens that the operator hands out"] if settings.web.tokens or any(one.token_hash for one in clients) else []),
        *(["a name and a password (HTTP Basic)"] if settings.web.users else []),
    ]
    found: JsonObject = {"cors": bool(settings.web.cors_origins)}
    if has_keys:
        found = {"extension": [{"url": _OAUTH_URIS, "extension": [{"url": "token", "valueUri": token_url}]}], **found}
    if services:
        found["service"] = [{"coding": [{"system": _SERVICES, "code": code}]} for code in services]
    told = f"Let in by: {'; '.join(ways)}." if ways else "No log-in is set up: programs on this machine only."
    return {**found, "description": told}
