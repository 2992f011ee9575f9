"""What a DICOM target that asks for normalised objects gets of one instance. Made when it is sent, never stored.

Everything comes from the spool and the ledger: the file, the time it arrived, the patient that holds after the decisions of people, and
which objects that it refers to go out under a UID of their own. So making it again gives the same bytes, as long as nothing was decided.
"""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from pathlib import Path
from threading import Lock

import structlog

from gateway.dicom.reading import read_header
from gateway.errors import Quarantined
from gateway.gather.patient import demographics, identifier_of
from gateway.mapping.language import Mappings
from gateway.model import Came
from gateway.normalise.coerce import Coerced, EffectivePatient, References, coerce
from gateway.spool.deliveries import InstanceTicket, Variant
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.spool.stages import Content
from gateway.spool.standing import standing
from gateway.telemetry import token
from gateway.understanding import Understanding

log = structlog.get_logger()


def produce(
    ticket: InstanceTicket, file: Path, understanding: Understanding, ledger: Ledger, files: SpoolFiles
) -> Coerced | None:
    """The normalised object; None: the target is told of the original instead.

    That is so for what no mapping understood (reading it again might end the reader), for a withdrawal, and for an object that belongs to
    another patient but cannot be made to say so: then the target marks it. Raises :class:`Quarantined` when the file is gone.
    """
    if not ticket.original_key or ticket.variant in (Variant.ORIGINAL, Variant.WITHDRAWN):
        return None
    patient = _patient(ticket, understanding, ledger) if ticket.patient_key != ticket.original_key else None
    try:
        references = _References(understanding, ledger, files).lookup()
        produced = _coerced(file, ticket.came, ticket.received_at, understanding, patient, references)
    except FileNotFoundError as error:
        raise Quarantined("The object is not in the spool any longer.") from error
    except Quarantined as error:
        _tell(ticket, error.reason)
        return None
    for problem in produced.problems:
        _tell(ticket, problem)
    return produced if produced.names_patient or ticket.variant is Variant.NORMALISED else None


def _tell(ticket: InstanceTicket, problem: str) -> None:
    log.warning("not_normalised", stage="publish", target=ticket.target, item=token(ticket.digest), reason=problem)


def _coerced(
    file: Path,
    came: Came,
    received_at: float,
    understanding: Understanding,
    patient: EffectivePatient | None = None,
    references: References | None = None,
) -> Coerced:
    header = read_header(file)
    record = understanding.understand(header, came)
    mapping = understanding.mappings.for_header(header)
    arrived_at = dt.datetime.fromtimestamp(received_at, dt.UTC)
    zone = understanding.site.timezone
    return coerce(file, record, mapping, arrived_at=arrived_at, zone=zone, patient=patient, references=references, came=came)


def _patient(ticket: InstanceTicket, understanding: Understanding, ledger: Ledger) -> EffectivePatient | None:
    """Who it belongs to by a person's decision, in the words of that patient's own objects. None: a patient without an id."""
    key = ticket.patient_key
    identifier = identifier_of(key)
    if identifier is None:
        return None
    own = [stored.fields for stored in ledger.subjects.dossier_shared(key) if stored.original_key == key]
    known = demographics(key, own)
    issuers = sorted({str(fields.patient.get("id_system") or "") for fields in own})
    elsewhere = "" if identifier[0] == understanding.patients.system else identifier[0]
    decided = [item.decided_at for item in standing(ledger.decisions.of_study(ticket.study_uid)).in_force if item.to_key == key]
    return EffectivePatient(
        id=identifier[1],
        issuer=issuers[0] if issuers else elsewhere,
        name=known.get("name"),
        birth_date=str(known.get("birth_date") or ""),
        gender=str(known.get("gender") or ""),
        decided_at=dt.datetime.fromtimestamp(decided[-1], dt.UTC) if decided else None,
    )


#: SOP Instance UIDs under which referenced contents go out: (digest, mappings) -> UID. A report refers to the same images again and again.
_SENT: OrderedDict[tuple[str, Mappings], str] = OrderedDict()
_SENT_MOST = 20_000
_SENT_LOCK = Lock()


class _References:
    """Under which UID another object goes out: a function of its own header and mapping, so it need not have been sent."""

    def __init__(self, understanding: Understanding, ledger: Ledger, files: SpoolFiles) -> None:
        self._understanding = understanding
        self._ledger = ledger
        self._files = files

    def lookup(self) -> References | None:
        """None where no mapping changes numbers: every object keeps its UID then, and nothing need be looked up."""
        renumbers = any(mapping.dicom.changes_numbers for mapping in self._understanding.mappings)
        return self._sent if renumbers else None

    def _sent(self, sop_instance_uid: str) -> str | None:
        content = self._ledger.stages.content_in_force(sop_instance_uid)
        if content is None:
            return None
        key = (content.digest, self._understanding.mappings)
        with _SENT_LOCK:
            known = _SENT.get(key)
        if known is None:
            known = self._made(content, sop_instance_uid)
            with _SENT_LOCK:
                _SENT[key] = known
                if len(_SENT) > _SENT_MOST:
                    _SENT.popitem(last=False)
        return known

    def _made(self, content: Content, sop_instance_uid: str) -> str:
        try:
            file = self._files.locate(content.day, content.digest)
            return _coerced(file, content.came, 0.0, self._understanding).sop_instance_uid
        except (Quarantined, FileNotFoundError):
            return sop_instance_uid  # it goes out as it was received
