"""A PACS as a source: C-FIND lists, C-GET or C-MOVE fetches (PS3.4 annex C, Study Root).

C-GET brings the objects over the association that asks, so the PACS needs to know nothing of us. C-MOVE has the PACS send them to our
DICOM port under the AE title that it knows us by; they come through the receiver as any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)
from pynetdicom import AE, StoragePresentationContexts, build_role, evt

from gateway.backfill.source import Taker
from gateway.dicom.file_meta import FileMetaInputs, encode_file_meta
from gateway.errors import GatewayError, Quarantined, Retryable
from gateway.spool.backfills import StudyRef

#: PS3.4 C.6.2, Study Root Query/Retrieve Information Model.
FIND, MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
_PENDING = (0xFF00, 0xFF01)
_SUCCESS, _SOME_FAILED, _OUT_OF_RESOURCES = 0x0000, 0xB000, (0xA700, 0xA701, 0xA702)
_UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
_COMPRESSED = [JPEGLosslessSV1, JPEG2000Lossless, RLELossless]
#: Classes of which a nuclear medicine department has compressed objects too; one context more each.
_MAYBE_COMPRESSED = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.20",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.130",
)
#: 128 contexts may be proposed in all (PS3.8 9.3.2.2: odd ids up to 255).
_MOST_CLASSES = 128 - 1 - len(_MAYBE_COMPRESSED)


class DicomSource:
    """``move_to``: the AE title to have objects sent to; None: they are fetched by C-GET."""

    def __init__(self, ae_title: str, host: str, port: int, *, calling_ae: str, move_to: str | None, timeout_secs: float) -> None:
        self._peer = (host, port, ae_title)
        self._calling_ae = calling_ae
        self._move_to = move_to
        self._timeout_secs = timeout_secs

    def studies(self, day: str, modalities: Sequence[str]) -> list[StudyRef]:
        found: dict[str, StudyRef] = {}
        for modality in modalities or ("",):
            query = _query("STUDY", StudyDate=day.replace("-", ""), ModalitiesInStudy=modality, StudyInstanceUID="")
            for item in self._find(query):
                uid = str(item.get("StudyInstanceUID", ""))
                found.setdefault(uid, StudyRef(study_uid=uid, day=day))
        found.pop("", None)
        return list(found.values())

    def fetch(self, study: StudyRef, modalities: Sequence[str], taker: Taker) -> None:
        if not modalities:
            self._retrieve(_query("STUDY", StudyInstanceUID=study.study_uid), taker)
            return
        asked = _query("SERIES", StudyInstanceUID=study.study_uid, SeriesInstanceUID="", Modality="")
        for series in self._find(asked):
            if str(series.get("Modality", "")) in modalities:
                uid = str(series.get("SeriesInstanceUID", ""))
                self._retrieve(_query("SERIES", StudyInstanceUID=study.study_uid, SeriesInstanceUID=uid), taker)

    def _find(self, query: Dataset) -> list[Dataset]:
        entity = self._entity()
        entity.add_requested_context(FIND)
        found = []
        with self._association(entity) as association:
            for status, item in association.send_c_find(query, FIND):
                code = _code(status)
                if code in _PENDING and item is not None:
                    found.append(item)
                elif code != _SUCCESS:
                    raise Quarantined(f"The source refused the query (status {code:04X}).")
        return found

    def _retrieve(self, query: Dataset, taker: Taker) -> None:
        if self._move_to is None:
            self._get(query, taker)
        else:
            self._move(query, self._move_to, taker)

    def _get(self, query: Dataset, taker: Taker) -> None:
        problems: list[GatewayError] = []

        def on_store(event: Any) -> int:
            request = event.request
            inputs = FileMetaInputs(
                transfer_syntax_uid=str(event.context.transfer_syntax),
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
            )
            try:
                taker.take(encode_file_meta(inputs) + request.DataSet.getvalue())
            except GatewayError as error:
                problems.append(error)
                return 0xA700
            return _SUCCESS

        entity = self._entity()
        entity.add_requested_context(GET)
        roles = []
        for uid in _classes():
            entity.add_requested_context(uid, _UNCOMPRESSED)
            roles.append(build_role(uid, scp_role=True))
        for uid in _MAYBE_COMPRESSED:
            entity.add_requested_context(uid, _COMPRESSED)
        with self._association(entity, roles, [(evt.EVT_C_STORE, on_store)]) as association:
            last = None
            for status, _ in association.send_c_get(query, GET):
                last = status
        if problems:
            raise problems[0]
        _judge(last)

    def _move(self, query: Dataset, destination: str, taker: Taker) -> None:
        entity = self._entity()
        entity.add_requested_context(MOVE)
        last, sent, failed = None, 0, 0
        with self._association(entity) as association:
            for status, _ in association.send_c_move(query, destination, MOVE):
                last = status
                completed, warned = status.get("NumberOfCompletedSuboperations"), status.get("NumberOfWarningSuboperations")
                sent = max(sent, int(completed or 0) + int(warned or 0))
                failed = max(failed, int(status.get("NumberOfFailedSuboperations") or 0))
        taker.note_sent(sent, failed)
        _judge(last)

    def _entity(self) -> AE:
        entity = AE(ae_title=self._calling_ae)
        entity.acse_timeout = entity.connection_timeout = 30
        entity.dimse_timeout = entity.network_timeout = self._timeout_secs
        entity.maximum_pdu_size = 128 * 1024
        return entity

    @contextmanager
    def _association(self, entity: AE, roles: Sequence[Any] = (), handlers: Sequence[Any] = ()) -> Iterator[Any]:
        host, port, title = self._peer
        association = entity.associate(
            host, port, ae_title=title, ext_neg=list(roles) or None, evt_handlers=list(handlers) or None
        )
        if not association.is_established:
            raise Retryable("The source cannot be reached, or refuses our AE title.", peer_down=True)
        try:
            yield association
        except ValueError as error:  # no accepted context for what is asked
            raise Quarantined("The source does not offer this service (C-FIND, C-GET or C-MOVE, Study Root).") from error
        finally:
            if association.is_established:
                association.release()


def _classes() -> list[str]:
    """Those that may come compressed first, then as many others as an association has room for."""
    others = [str(context.abstract_syntax) for context in StoragePresentationContexts]
    return [*_MAYBE_COMPRESSED, *(uid for uid in others if uid not in _MAYBE_COMPRESSED)][:_MOST_CLASSES]


def _query(level: str, **keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(query, name, value)
    return query


def _code(status: Dataset | None) -> int:
    """Raises :class:`Retryable` when there was no answer."""
    if status is None or "Status" not in status:
        raise Retryable("The source did not answer, or the connection was lost.", peer_down=True)
    return int(status.Status)


def _judge(status: Dataset | None) -> None:
    """PS3.4 C.4.2.1.5 and C.4.3.1.4. Raises when not everything came."""
    code = _code(status)
    if code == _SUCCESS:
        return
    if code in _OUT_OF_RESOURCES:
        raise Retryable(f"The source has no room for it now (status {code:04X}).")
    failed = int(status.get("NumberOfFailedSuboperations") or 0) if status is not None else 0
    if code == _SOME_FAILED:
        raise Quarantined(f"The source could not send {failed} of the objects (status B000).")
    raise Quarantined(f"The source refused to send it (status {code:04X}).")
