"""The nouns that travel between the stages. All are frozen and valid once constructed.

A stage is a function from one of these to the next::

    bytes -> Instance (receive, spool) -> Record (normalise) -> Study | Dossier (gather) -> Bundle (render) -> Receipt

Values inside a :class:`Record` are plain JSON trees (``str``, ``int``, ``Decimal``, ``bool``, ``list``, ``dict``), so that
what the ledger stores, what the golden files show and what the templates read is one and the same thing. A number with
a unit is always ``{"value": Decimal, "unit": UCUM}``; a coded value is always ``{"system", "code", "text"}``.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeAlias

#: A JSON tree. Numbers are ``int`` or ``Decimal``, never ``float``.
Json: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Any]


class Door(StrEnum):
    """Where an object came in."""

    DIMSE = "dimse"  #: C-STORE from a scanner or PACS
    STOW = "stow"  #: DICOMweb STOW-RS
    FOLDER = "folder"  #: a watched folder
    BACKFILL = "backfill"  #: fetched from a source of former years
    ADOPTED = "adopted"  #: found in the spool without a row at start-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One object received once: who brought it, through which door, when."""

    door: Door
    calling_ae: str
    called_ae: str
    peer: str  #: network address of the sender, without port
    received_at: dt.datetime  #: aware, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """How an object came, as far as a mapping may read it. Empty: not known, as for a file that a person converts."""

    calling_ae: str = ""  #: who sent it
    called_ae: str = ""  #: the title that was called
    received_at: str = ""  #: its first arrival, as a DICOM DT in UTC
    door: str = ""  #: a value of :class:`Door`


UNKNOWN = Came()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One SOP instance with one content, durable in the spool.

    ``digest`` is the lower-case hex SHA-256 of the transfer syntax UID (ASCII) followed by the data set bytes as received.
    File meta is left out, because it carries the AE titles of each transport.
    """

    digest: str
    day: str  #: the day-partition that holds the file, ``YYYY-MM-DD`` (UTC)
    size_bytes: int  #: of the data set, without preamble and file meta
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number that knows its unit (UCUM)."""

    value: Decimal
    unit: str

    def as_json(self) -> JsonObject:
        return {"value": self.value, "unit": self.unit}


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A coded value. ``code`` may be absent: then only the sender's text is known."""

    system: str | None
    code: str | None
    text: str

    def as_json(self) -> JsonObject:
        pairs = {"system": self.system, "code": self.code, "text": self.text}
        return {key: value for key, value in pairs.items() if value}


class Severity(StrEnum):
    """How bad an issue is, by consequence."""

    ERROR = "error"  #: the field is withheld and a human should know
    WARNING = "warning"  #: published, but repaired, flagged or incomplete
    INFORMATION = "information"  #: worth a line in the record, nothing to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """Something a mapping or a stage found. Never holds patient data: no values of identifying elements."""

    field: str  #: the field's name, e.g. ``administration.activity``
    reason: str  #: a sentence a nurse could read
    severity: Severity = Severity.ERROR

    def as_json(self) -> JsonObject:
        return {"field": self.field, "reason": self.reason, "severity": str(self.severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFields:
    """What a mapping read that is the same for (nearly) all instances of a series: stored once, by ``key``.

    ``sources`` tells for each field which path its value came from: promise 4, every value is explained.
    """

    key: str  #: SHA-256 of the canonical JSON of all other members: equal content, equal key
    mapping: str
    mapping_version: str
    patient: JsonObject
    study: JsonObject
    series: JsonObject
    device: JsonObject
    administrations: tuple[JsonObject, ...] = ()
    issues: tuple[Issue, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    document: JsonObject = field(default_factory=dict)  #: of a report or a table: what it is, how final, what it supersedes
    results: tuple[JsonObject, ...] = ()  #: facts of dosimetry; members in ``nuclear/results.py``, ``label`` leads to ``sources``


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a mapping read from one instance."""

    shared: SharedFields
    instance: JsonObject
    issues: tuple[Issue, ...] = ()  #: those of the instance level; the others stand in ``shared``


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What the receiver tells the ledger about one object, after the bytes are durable.

    ``reason`` is set when the object went to quarantine at the door; its UIDs may then be empty strings.
    """

    arrival: Arrival
    instance: Instance
    status: int  #: the DIMSE status that was answered, e.g. 0x0000
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series of a gathered study, its instances in order."""

    fields: JsonObject
    device: JsonObject
    instances: tuple[JsonObject, ...]
    suv: JsonObject = field(default_factory=dict)  #: of PET: the SUV factor with its inputs, or why there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is known of a study now. Its content depends only on which instances are there."""

    uid: str
    patient_key: str
    fields: JsonObject
    series: tuple[Series, ...]
    mappings: tuple[str, ...]
    mapping_versions: tuple[str, ...]
    hold: dict[int, str] = field(default_factory=dict)  #: instances to hold back, with the reason
    release: tuple[int, ...] = ()  #: instances held before that belong to the study after all
    other_patients: frozenset[str] = frozenset()  #: patient keys of what is held


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """One tracer administration. ``key`` is its minted id; ``aliases`` are the names its sources know it by, the surest first."""

    key: str
    aliases: tuple[str, ...]
    fields: JsonObject
    study_uids: tuple[str, ...]
    series_uids: tuple[str, ...]
    mapping: str
    issues: tuple[Issue, ...]
    event_uids: tuple[str, ...] = ()  #: every event UID that a source gave
    verified: bool = False  #: every report that tells of it is verified, and nothing of it was repaired
    reconciled: bool = False  #: facts of two kinds of source were taken as one within tolerances
    sources: dict[str, str] = field(default_factory=dict)  #: field -> ``mapping: path`` of the published value


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseResult:
    """One fact of dosimetry, from all documents that tell it. ``key`` is its minted id, ``aliases`` the names it is known by."""

    key: str
    aliases: tuple[str, ...]
    kind: str  #: one of ``nuclear.results.KINDS``
    fields: JsonObject  #: members in ``nuclear.results.MEMBERS``
    status: str  #: FHIR observation-status
    label: str  #: how the record that tells it calls it
    administration: str | None  #: id of the administration that it belongs to
    document: str  #: key of the document whose words are published
    study_uids: tuple[str, ...]
    mapping: str
    issues: tuple[Issue, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)  #: member -> ``mapping: path`` of the published value


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One report or table that tells facts. ``key`` is its SOP Instance UID, or its digest where it has none."""

    key: str
    fields: JsonObject
    study_uid: str
    mapping: str
    administrations: tuple[str, ...] = ()  #: ids of those that it tells of
    superseded: bool = False  #: another document stands in its place
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredCycles:
    """Administrations that a person declared to be all cycles of a therapy, for one region or for all."""

    id: int
    administrations: tuple[str, ...]
    region: str | None  #: code or words
    reason: str
    decided_by: str
    decided_at: float
    withdrawn: bool = False
    withdrawn_reason: str = ""
    withdrawn_by: str = ""
    withdrawn_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonsWord:
    """What a person said about facts: who, when, why. ``facts`` are their keys, ``sources`` identifiers of what it was said of."""

    key: str  #: names it for good
    activity: str  #: of ISO 21089
    words: str
    reason: str
    decided_by: str
    decided_at: float
    facts: tuple[str, ...]
    sources: tuple[JsonObject, ...]  #: FHIR: ``identifier``, and ``display`` for the place inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """What is known of one patient across studies."""

    patient_key: str
    patient: JsonObject
    administrations: tuple[Administration, ...]
    minted: dict[str, str]  #: alias -> id, those that were not known before or led to another id
    mapping_versions: tuple[str, ...]
    replaced: dict[str, str] = field(default_factory=dict)  #: lost administration id -> the id that survives
    results: tuple[DoseResult, ...] = ()
    documents: tuple[Document, ...] = ()
    minted_results: dict[str, str] = field(default_factory=dict)  #: alias -> id of a result, new or led elsewhere
    replaced_results: dict[str, str] = field(default_factory=dict)  #: lost result id -> the id that survives
    orders: dict[str, JsonObject] = field(default_factory=dict)  #: StudyInstanceUID -> accession number and its issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A FHIR transaction ready to leave, and the hash of what it says."""

    body: JsonObject
    content_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a target says it holds after a delivery: ``Type/id`` -> versionId."""

    versions: dict[str, str]
    remote_ids: dict[str, str] = field(default_factory=dict)  #: ``Type/id`` -> the target's own id, where it did not take ours
    incomplete: frozenset[str] = frozenset()  #: ``Type/id`` that refer to something which the target does not hold yet
