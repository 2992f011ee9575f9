"""What a table tells, in the shape in which records of DICOM objects travel: gathering asks for nothing else."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import uuid

import msgspec

from gateway.dicom.values import instant
from gateway.model import JsonObject, SharedFields
from gateway.tables.rules import Adapter
from gateway.tables.understand import Part

#: The mapping whose templates render facts of tables (``mappings/table.yaml``).
MAPPING = "table"
#: RFC 4180 and the registry of media types.
CONTENT_TYPES = {
    "csv": "text/csv",
    "report": "text/plain",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
#: Names of parts of tables (RFC 9562, version 5); as a UID below 2.25 (PS3.5 B.2).
_NAMESPACE = uuid.UUID("6f2a4b0e-5d1c-4f43-9f0a-7a6f0f1c9f55")
_encoder = msgspec.json.Encoder(decimal_format="number", order="deterministic")
#: Of an administration that a table creates; what else it says of it stands in results.
_ADMINISTRATION = (
    "event_uid", "started_at", "stopped_at", "activity", "measured_before", "measured_after", "radionuclide", "agent", "route", "site",
)  # fmt: skip


def part_key(part: Part) -> str:
    """The same for the same patient and administration of a file, however often it is read."""
    return hashlib.sha256(part.key.encode()).hexdigest()


def record_of(part: Part, adapter: Adapter, digest: str, received_at: str) -> SharedFields:
    """``received_at`` (FHIR dateTime) counts where the table does not say when it was made."""
    key = part_key(part)
    document: JsonObject = {
        **part.document,
        "uid": f"2.25.{uuid.uuid5(_NAMESPACE, f'{digest}|{key}').int}",
        "created_at": _in_utc(str(part.document.get("created_at") or received_at)),
        **({} if part.document.get("created_at") else {"undated": True}),
        "template": adapter.name,
        "source": "table",
        "content_type": CONTENT_TYPES[adapter.read.format],
        "digest": digest,
    }
    hint = {name: value for name, value in part.administration.items() if name != "cycle"}
    cycle = part.administration.get("cycle")
    results = tuple(
        {
            **result,
            **({"about": part.device} if part.device else {}),
            **({"administration": hint} if hint else {}),
            **({"cycle": cycle} if cycle is not None and "cycle" not in result else {}),
        }
        for result in part.results
    )
    administration = {name: part.administration[name] for name in _ADMINISTRATION if name in part.administration}
    return sealed(
        SharedFields(
            key="",
            mapping=MAPPING,
            mapping_version=f"{adapter.name}.{adapter.version}",
            patient={},
            study={},
            series={},
            device=part.device,
            administrations=(administration,) if adapter.creates_administration and administration else (),
            issues=tuple(part.issues),
            sources={name: f"{adapter.name}: {place}" for name, place in sorted(part.sources.items())},
            document=document,
            results=results,
        )
    )


def _in_utc(moment: str) -> str:
    """Moments of several zones in one writing, so that the newer one sorts later. A day alone stays one."""
    found = instant(moment)
    return found.astimezone(dt.UTC).isoformat(timespec="seconds") if found else moment


def sealed(fields: SharedFields) -> SharedFields:
    """With the key that its content gives."""
    content = {field.name: getattr(fields, field.name) for field in dataclasses.fields(fields) if field.name != "key"}
    return dataclasses.replace(fields, key=hashlib.sha256(_encoder.encode(content)).hexdigest())
