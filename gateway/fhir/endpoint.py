"""Endpoint: where the images of a study can be fetched (FHIR R4 Endpoint, PS3.18 10.4), so that a client goes from facts to pixels."""

from __future__ import annotations

from gateway.config import Settings
from gateway.model import JsonObject

_CONNECTION = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"

#: One Endpoint per installation, whatever its address: when the address changes, the same resource is updated.
BUSINESS_KEY = "dicom-wado-rs"


def images_address(settings: Settings) -> str | None:
    """The DICOMweb address that clients are sent to: that of a DICOM target which names one, else our own.

    None when nobody can know it at rendering: port 0 and no ``web.external_url``.
    """
    for target in settings.targets:
        if target.enabled and target.dicomweb_url:
            return target.dicomweb_url.rstrip("/")
    return f"{settings.web.address}/dicom-web" if settings.web.address else None


def endpoint(identifier: str, address: str) -> JsonObject:
    """The resource. It says nothing about patients."""
    return {
        "resourceType": "Endpoint",
        "id": identifier,
        "status": "active",
        "connectionType": {"system": _CONNECTION, "code": "dicom-wado-rs"},
        "name": "Images of this installation (DICOMweb)",
        "payloadType": [{"text": "DICOM"}],
        "payloadMimeType": ["application/dicom", "application/dicom+json"],
        "address": address,
    }
