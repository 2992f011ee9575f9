"""A-ASSOCIATE: what we agree to (PS3.8 sections 7.1 and 9.3). Pure; pynetdicom decodes and encodes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    ApplicationContextItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    TransferSyntaxSubItem,
    UserInformationItem,
)

from gateway.dicom.commitment import PUSH_MODEL
from gateway.dicom.commitment import TRANSFER_SYNTAXES as COMMITMENT_SYNTAXES
from gateway.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.dicom.text import printable
from gateway.receive.guard import ASSOCIATE_RQ, INVALID_PARAMETER, ProtocolViolation
from gateway.receive.settings import ReceiveSettings

VERIFICATION = "1.2.840.10008.1.1"
RAW_DATA_STORAGE = "1.2.840.10008.5.1.4.1.1.66"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

#: In these the pixels stay with the sender, or the stream is not a file: nothing one could store.
_NOT_STORABLE = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205")
_TRANSFER_SYNTAXES = frozenset(str(uid) for uid in AllTransferSyntaxes if uid not in _NOT_STORABLE)
#: Retired long ago, and still in the archives of nuclear medicine: its images before 1995, and PET curves.
_RETIRED = ("1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.5.1.4.1.1.129")
_STORAGE = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts).union(_RETIRED)

_ACCEPTED, _ABSTRACT_SYNTAX_UNKNOWN, _TRANSFER_SYNTAXES_UNKNOWN = 0, 3, 4
_TITLES = slice(4, 36)  #: called and calling AE title, in the body of a request (PS3.8 table 9-11)
_FIXED_BYTES = 68
#: What pynetdicom's decoders raise when a request is damaged.
_DAMAGED = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error)


@dataclass(frozen=True, slots=True)
class Context:
    """One accepted presentation context."""

    context_id: int
    abstract_syntax_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """An association we accept; ``pdu`` is the answer to send."""

    calling_ae: str
    called_ae: str
    contexts: dict[int, Context]
    proposed: int  #: how many presentation contexts the peer proposed
    pdu: bytes
    peer_max_pdu_bytes: int = 0  #: that the peer takes; 0: any

    @property
    def is_verification_only(self) -> bool:
        return all(context.abstract_syntax_uid == VERIFICATION for context in self.contexts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An association we reject; ``pdu`` is the answer to send."""

    calling_ae: str
    called_ae: str
    reason: str
    pdu: bytes


# PS3.8 table 9-21: result (1 permanent, 2 transient), source (1 user, 2 ACSE, 3 presentation), reason.
_VERSION_UNKNOWN = ("the protocol version is not supported", 1, 2, 2)
_CONTEXT_UNKNOWN = ("the application context is not supported", 1, 1, 2)
_CALLING_UNKNOWN = ("the calling AE title is not on the list", 1, 1, 3)
_CALLED_UNKNOWN = ("the called AE title is not ours", 1, 1, 7)
_CERTIFICATE_WANTED = ("the calling AE title must come over TLS with its certificate", 1, 1, 3)
_CERTIFICATE_WRONG = ("the certificate is not the one of the calling AE title", 1, 1, 3)
_TITLE_UNBOUND = ("the calling AE title is bound to no certificate", 1, 1, 3)
_ADDRESS_WRONG = ("the calling AE title may not call from this address", 1, 1, 3)
_NO_SLOT = ("too many associations are open", 2, 3, 2)
_NO_SLOT_FOR_ADDRESS = ("too many associations are open from this address", 2, 3, 2)
_CONGESTED = (2, 3, 1)


def storage_classes(settings: ReceiveSettings) -> frozenset[str]:
    """The storage SOP classes that are accepted: of patients' objects. For the conformance statement and the setup sheet."""
    return _STORAGE if settings.accept_raw_data else _STORAGE - {RAW_DATA_STORAGE}


def accepts(sop_class_uid: str, *, raw_data: bool) -> bool:
    """The same question for an object that comes without negotiation."""
    return sop_class_uid in _STORAGE and (raw_data or sop_class_uid != RAW_DATA_STORAGE)


def transfer_syntaxes() -> frozenset[str]:
    """The transfer syntaxes that are accepted, for every SOP class alike."""
    return _TRANSFER_SYNTAXES


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How busy we are. ``from_address``: associations that are open from the caller's address."""

    open_associations: int = 0
    from_address: int = 0
    congestion: str | None = None  #: why no new association is taken just now


_QUIET = Situation()


def negotiate(
    body: bytes,
    settings: ReceiveSettings,
    *,
    situation: Situation = _QUIET,
    peer: str = "",
    certificate: frozenset[str] | None = None,
) -> Agreed | Refused:
    """Answer the A-ASSOCIATE-RQ with this body. Raises :class:`ProtocolViolation` when it is damaged.

    Two slots beyond the limits are kept for peers that only want to verify (C-ECHO), so that a busy receiver looks alive.
    ``peer``: the caller's network address. ``certificate``: the names that its certificate bears; empty when it showed none, None when
    it came without TLS.
    """
    request = _decode(body)
    calling, called = _title(body[20:36]), _title(body[4:20])
    refusal = _refusal(request, calling, called, settings) or _stranger(calling, certificate, settings)
    if refusal is None and not settings.policy(calling).admits(peer):
        refusal = _ADDRESS_WRONG
    agreed: Agreed | None = None
    if refusal is None:
        agreed = _agree(request, body, calling, called, settings)
        refusal = _no_room(agreed, settings, situation)
    if agreed is None or refusal is not None:
        reason, result, source, code = refusal or _CONTEXT_UNKNOWN
        pdu = bytes([0x03, 0, 0, 0, 0, 4, 0, result, source, code])  # A-ASSOCIATE-RJ, PS3.8 9.3.4
        return Refused(calling_ae=calling, called_ae=called, reason=reason, pdu=pdu)
    return agreed


def _no_room(agreed: Agreed, settings: ReceiveSettings, situation: Situation) -> tuple[str, int, int, int] | None:
    spare = 2 if agreed.is_verification_only else 0
    if situation.open_associations >= settings.max_associations + spare:
        return _NO_SLOT
    most = settings.max_associations_per_address
    if most and situation.from_address >= most + spare:
        return _NO_SLOT_FOR_ADDRESS
    if situation.congestion is not None and not agreed.is_verification_only:
        return (situation.congestion, *_CONGESTED)
    return None


def _decode(body: bytes) -> A_ASSOCIATE_RQ:
    if len(body) < _FIXED_BYTES:
        raise ProtocolViolation("The association request is too short.", INVALID_PARAMETER)
    request = A_ASSOCIATE_RQ()
    try:
        request.decode(struct.pack(">BxI", ASSOCIATE_RQ, len(body)) + _printable_titles(body))
    except _DAMAGED as error:
        raise ProtocolViolation("The association request is damaged.", INVALID_PARAMETER) from error
    ids = [item.presentation_context_id for item in request.presentation_context]
    if len(set(ids)) != len(ids):
        raise ProtocolViolation("The association request uses a context id twice.", INVALID_PARAMETER)
    return request


def _printable_titles(body: bytes) -> bytes:
    """pynetdicom refuses titles that are blank or not printable; we judge them ourselves, so it need not see them."""
    return body[: _TITLES.start] + b"X" * 32 + body[_TITLES.stop :]


def _title(field: bytes) -> str:
    return printable(field.decode("ascii", "replace").strip(" \0"))


def _refusal(request: A_ASSOCIATE_RQ, calling: str, called: str, settings: ReceiveSettings) -> tuple[str, int, int, int] | None:
    if not request.protocol_version & 1:
        return _VERSION_UNKNOWN  # PS3.8 9.3.2: only bit 0 is tested
    if request.application_context_name != APPLICATION_CONTEXT:
        return _CONTEXT_UNKNOWN
    if settings.calling_aes and calling not in settings.calling_aes:
        return _CALLING_UNKNOWN
    if settings.check_called_ae and called != settings.ae_title:
        return _CALLED_UNKNOWN
    return None


def _stranger(calling: str, certificate: frozenset[str] | None, settings: ReceiveSettings) -> tuple[str, int, int, int] | None:
    """A title that is bound to a certificate is believed with that certificate only; over TLS no other title is, once one is bound."""
    wanted = settings.certificates.get(calling)
    if wanted is None:
        return _TITLE_UNBOUND if settings.certificates and certificate is not None else None
    if not certificate:
        return _CERTIFICATE_WANTED
    return None if wanted & certificate else _CERTIFICATE_WRONG


def _agree(request: A_ASSOCIATE_RQ, body: bytes, calling: str, called: str, settings: ReceiveSettings) -> Agreed:
    contexts: dict[int, Context] = {}
    answers: list[PresentationContextItemAC] = []
    for item in request.presentation_context:
        context_id = item.presentation_context_id or 0
        abstract = str(item.abstract_syntax or "")
        result, chosen = _choose(abstract, [str(uid) for uid in item.transfer_syntax], settings)
        if result == _ACCEPTED:
            contexts[context_id] = Context(context_id, abstract, chosen)
        answers.append(_context_item(context_id, result, chosen))
    pdu = _encode_accept(answers, settings.max_pdu_bytes)
    # PS3.8 table 9-17: the reserved fields repeat the titles of the request, whatever they are.
    pdu = pdu[: 6 + _TITLES.start] + body[_TITLES] + pdu[6 + _TITLES.stop :]
    most = request.user_information.maximum_length if request.user_information else 0
    return Agreed(
        calling_ae=calling,
        called_ae=called,
        contexts=contexts,
        proposed=len(answers),
        pdu=pdu,
        peer_max_pdu_bytes=most or 0,
    )


def _choose(abstract: str, proposed: list[str], settings: ReceiveSettings) -> tuple[int, str]:
    """The first transfer syntax proposed that we know: the sender's preference, stored as it comes."""
    if abstract == PUSH_MODEL and settings.storage_commitment:
        fitting = [uid for uid in proposed if uid in COMMITMENT_SYNTAXES]
        return (_ACCEPTED, fitting[0]) if fitting else (_TRANSFER_SYNTAXES_UNKNOWN, (proposed or ["1.2.840.10008.1.2"])[0])
    known = abstract in _STORAGE and (settings.accept_raw_data or abstract != RAW_DATA_STORAGE)
    first = proposed[0] if proposed else "1.2.840.10008.1.2"
    if not known and abstract != VERIFICATION:
        return _ABSTRACT_SYNTAX_UNKNOWN, first
    for uid in proposed:
        if uid in _TRANSFER_SYNTAXES:
            return _ACCEPTED, uid
    return _TRANSFER_SYNTAXES_UNKNOWN, first


def _context_item(context_id: int, result: int, transfer_syntax_uid: str) -> PresentationContextItemAC:
    syntax = TransferSyntaxSubItem()
    syntax.transfer_syntax_name = transfer_syntax_uid
    item = PresentationContextItemAC()
    item.presentation_context_id = context_id
    item.result_reason = result
    item.transfer_syntax_sub_item = [syntax]
    return item


def _encode_accept(answers: list[PresentationContextItemAC], max_pdu_bytes: int) -> bytes:
    application = ApplicationContextItem()
    application.application_context_name = APPLICATION_CONTEXT
    most = MaximumLengthSubItem()
    most.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDSubItem()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameSubItem()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    user = UserInformationItem()
    user.user_data = [most, implementation, version]
    accept = A_ASSOCIATE_AC()
    accept.reserved_aet = accept.reserved_aec = "X"
    accept.variable_items = [application, *answers, user]
    encoded: bytes = accept.encode()
    return encoded
