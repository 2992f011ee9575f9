"""Who a record is about: the patient key, and one set of demographics from many headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.model import JsonObject, SharedFields
from gateway.r4.identifiers import system_of

#: The system of patients without an id: they are known by their study alone and never meet another study's facts.
UNIDENTIFIED = "unidentified"
#: The system of facts about a camera or a calibrator: there is no patient.
DEVICE = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientKeys:
    """Turns a header's patient id and issuer into the key of a dossier: ``system|id``.

    PatientID (0010,0020) is unique only together with its issuer (0010,0021), PS3.3 C.2.2. Else the site's own system holds.
    """

    system: str

    def of(self, shared: SharedFields) -> str:
        identifier = str(shared.patient.get("id") or "")
        if not identifier:
            return f"{UNIDENTIFIED}|{shared.study.get('uid', '')}"
        return self.named(identifier, str(shared.patient.get("id_system") or ""))

    def named(self, identifier: str, issuer: str = "") -> str:
        """The key of a patient whose id a person gives; without an issuer it is an id of the site."""
        return f"{system_of(issuer, self.system)}|{identifier}"


def identifier_of(patient_key: str) -> tuple[str, str] | None:
    """``(system, value)`` of a patient key, or None for a patient without an id."""
    system, _, value = patient_key.partition("|")
    return None if system in (UNIDENTIFIED, DEVICE) else (system, value)


def is_device(patient_key: str) -> bool:
    """Whether a dossier is that of a camera or a calibrator."""
    return patient_key.startswith(f"{DEVICE}|")


def demographics(patient_key: str, records: Iterable[SharedFields]) -> JsonObject:
    """One patient from many headers: each field from the latest study that gives it. Nobody, for facts about a device."""
    if is_device(patient_key):
        return {}
    ordered = sorted(records, key=lambda shared: (str(shared.study.get("started") or ""), shared.key))
    merged: JsonObject = {}
    for shared in ordered:
        merged.update(shared.patient)
    merged.pop("id", None)
    merged.pop("id_system", None)
    identifier = identifier_of(patient_key)
    if identifier is not None:
        merged["id_system"], merged["id"] = identifier
    return {"key": patient_key, **merged}
