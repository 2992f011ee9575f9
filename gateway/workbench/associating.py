"""One association of the bench's DICOM client: how it is asked for, and the sentence that says why there is none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext

from gateway.workbench.ae_address import AEAddress

#: Our maximum PDU length, and the time limits of one connection.
MAX_PDU_BYTES = 128 * 1024
CONNECT_SECS, ACSE_SECS, DIMSE_SECS = 10.0, 30.0, 120.0

#: How long a peer may take to say that it refuses our certificate.
_ALERT_SECS = 1.0

#: How long the reactor thread must have been waiting before we believe that it sleeps; it wakes every millisecond.
_REACTOR_ASLEEP_SECS = 0.02


@dataclass(frozen=True, slots=True)
class NoAssociation:
    """Whether the peer was reached at all, and a sentence that says what happened."""

    connected: bool
    reason: str


def associate(target: AEAddress, calling_ae: str, contexts: list[PresentationContext], tls: ssl.SSLContext | None) -> Any:
    """An established pynetdicom association, or a :class:`NoAssociation`."""
    try:
        socket.getaddrinfo(target.host, target.port)
    except socket.gaierror:
        return NoAssociation(False, f"the host name {target.host} is not known")
    entity = AE(ae_title=calling_ae)
    entity.connection_timeout, entity.acse_timeout, entity.dimse_timeout = CONNECT_SECS, ACSE_SECS, DIMSE_SECS
    entity.network_timeout = DIMSE_SECS
    entity.maximum_pdu_size = MAX_PDU_BYTES
    association = entity.associate(
        target.host,
        target.port,
        contexts=contexts,
        ae_title=target.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay)],
        tls_args=(tls, target.host) if tls else None,
    )
    return association if association.is_established else _why_not_established(association, target, tls)


def _without_delay(event: Any) -> None:
    """Switch Nagle's algorithm off: command and data set are two writes, and the second must not wait for a TCP ACK."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _why_not_established(association: Any, target: AEAddress, tls: ssl.SSLContext | None) -> NoAssociation:
    if association.is_rejected:
        answer = association.acceptor.primitive
        return NoAssociation(
            True, f"the peer rejected the association: {answer.reason_str} ({answer.result_str}, {answer.source_str})"
        )
    try:
        _knock(target, tls)
    except ssl.SSLError as error:
        return NoAssociation(False, f"TLS with {target.host}:{target.port} failed: {_tls_words(error)}")
    except TimeoutError:
        return NoAssociation(False, f"{target.host}:{target.port} does not answer within {CONNECT_SECS:.0f} s")
    except OSError as error:
        return NoAssociation(False, f"no connection to {target.host}:{target.port} ({error.strerror})")
    if association.rejected_contexts:
        return NoAssociation(True, "the peer accepted the association but none of the offered SOP classes and transfer syntaxes")
    return NoAssociation(True, "the peer aborted, or does not speak DICOM on this port")


def _knock(target: AEAddress, tls: ssl.SSLContext | None) -> None:
    """Connect once more, for the reason. TLS 1.3 tells a caller whose certificate is refused only when it reads."""
    with socket.create_connection((target.host, target.port), timeout=CONNECT_SECS) as plain:
        if tls is not None:
            with tls.wrap_socket(plain, server_hostname=target.host) as sock:
                sock.settimeout(_ALERT_SECS)
                with contextlib.suppress(TimeoutError):
                    sock.recv(1)


def _tls_words(error: ssl.SSLError) -> str:
    detail = getattr(error, "verify_message", "")
    return str(detail or (error.reason or "a fault").replace("_", " ").lower())


@contextmanager
def reactor_held(association: Any) -> Iterator[None]:
    """Keep pynetdicom's reactor thread asleep while we send.

    ``send_c_store`` pauses it for each object, but the pause has a gap: a reactor that has just woken may still take the answer
    of a fast peer off the queue, and the sender waits for it in vain (pynetdicom 3.0.4, ``Association._run_reactor``). Paused
    once, and given the time to fall asleep, it can take nothing.
    """
    if isinstance(association, NoAssociation):
        yield
        return
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    asleep_since = time.monotonic()
    while time.monotonic() - asleep_since < _REACTOR_ASLEEP_SECS:
        if not association._is_paused:
            asleep_since = time.monotonic()
        time.sleep(0.001)
    checkpoint.set = _nothing
    try:
        yield
    finally:
        del checkpoint.set
        checkpoint.set()


def _nothing() -> None:
    """Stands in for waking the reactor."""
