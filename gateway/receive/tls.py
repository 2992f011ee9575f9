"""DICOM TLS (PS3.15 B.12, the BCP 195 profile): sockets that shake hands inside the loop, certificates that are taken up while we run.

A :class:`TlsSocket` stands in for a plain socket in :mod:`gateway.receive.connection`. The handshake is done bit by bit as bytes come, so
a caller that stalls holds nobody; its time is that of the association request. Certificate files are looked at when somebody connects.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from gateway.dicom_settings import TlsSettings, certificate_names, server_context
from gateway.errors import Misconfigured

_log = structlog.get_logger()

#: A record of TLS holds no more (RFC 8446 5.1): with this much room none is left half read.
_RECORD_BYTES = 16 << 10
#: The words of OpenSSL that a person at the scanner can use, and ours.
_REASONS = {
    "HTTP_REQUEST": "what came is not TLS",
    "WRONG_VERSION_NUMBER": "what came is not TLS, or too old a version of it",
    "UNSUPPORTED_PROTOCOL": "the caller's version of TLS is too old",
    "NO_SHARED_CIPHER": "the caller knows no cipher suite of the BCP 195 profile",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the caller showed no certificate",
    "CERTIFICATE_VERIFY_FAILED": "the caller's certificate is not accepted",
}


class TlsFailure(OSError):
    """The handshake, or the encryption after it, came to nothing. The text is for people."""


class TlsSocket:
    """A socket of the loop that speaks TLS. What would block raises ``BlockingIOError``, as a plain socket does."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._is_ready = False
        self.wants_write = False  #: the handshake waits until it can send
        self.names: frozenset[str] = frozenset()  #: those of the caller's certificate, when it showed a trusted one

    def fileno(self) -> int:
        return self._sock.fileno()

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self._sock.setsockopt(level, option, value)

    def recv_into(self, room: memoryview) -> int:
        """Bytes read, 0 at the end. Reads all records that are here and fit. Raises :class:`TlsFailure`."""
        with self._translated():
            if not self._is_ready:
                self._shake_hands()
            count = self._sock.recv_into(room)
        with contextlib.suppress(OSError):  # what has been read counts; a fault shows at the next reading
            while count and len(room) - count >= _RECORD_BYTES:
                more = self._sock.recv_into(room[count:])
                if not more:
                    break
                count += more
        return count

    def send(self, data: bytes | bytearray) -> int:
        with self._translated():
            return self._sock.send(data)

    def shutdown(self, how: int) -> None:
        """Say goodbye in TLS, then as a socket does."""
        with contextlib.suppress(OSError, ValueError):
            self._sock.unwrap()
        socket.socket.shutdown(self._sock, how)

    def close(self) -> None:
        self._sock.close()

    def _shake_hands(self) -> None:
        self._sock.do_handshake()
        self._is_ready = True
        self.names = names_of(self._sock)

    @contextlib.contextmanager
    def _translated(self) -> Any:
        self.wants_write = False
        try:
            yield
        except ssl.SSLWantReadError as error:
            raise BlockingIOError from error
        except ssl.SSLWantWriteError as error:
            self.wants_write = True
            raise BlockingIOError from error
        except ssl.SSLEOFError as error:
            raise TlsFailure("the caller went away" if self._is_ready else "the caller left during the TLS handshake") from error
        except ssl.SSLError as error:
            raise TlsFailure(_explained(error)) from error


def _explained(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    words = _REASONS.get(reason)
    if words is None and "ALERT" in reason:
        words = f"the caller does not accept us ({reason.replace('_', ' ').lower()})"
    detail = getattr(error, "verify_message", "")
    return f"TLS: {words or reason.replace('_', ' ').lower() or 'a fault'}{f' ({detail})' if detail else ''}"


def names_of(sock: ssl.SSLSocket) -> frozenset[str]:
    """The names of the trusted certificate at the other end, as :func:`certificate_names` writes them; empty without one."""
    encoded = sock.getpeercert(binary_form=True)
    if encoded is None:
        return frozenset()
    names = {f"sha256:{hashlib.sha256(encoded).hexdigest()}"}
    told: Mapping[str, Any] = sock.getpeercert() or {}
    for kind, value in told.get("subjectAltName", ()):
        if kind in ("DNS", "URI"):
            names.add(f"{kind.lower()}:{value.lower() if kind == 'DNS' else value}")
    common_names = [value for part in told.get("subject", ()) for key, value in part if key == "commonName"]
    if len(common_names) == 1:  # of several none can be told to be the holder's
        names.add(f"cn:{common_names[0]}")
    return frozenset(names)


class TlsPort:
    """Wraps accepted sockets; takes up new certificate files by itself. ``bound`` is AE title -> names its certificate may bear."""

    def __init__(self, settings: TlsSettings, make: Callable[[TlsSettings], ssl.SSLContext] = server_context) -> None:
        """Raises :class:`Misconfigured` when the files cannot be used: then the receiver does not start."""
        self._settings = settings
        self._make = make
        self._stamps = self._look()
        self._context = make(settings)
        self.bound = {title: certificate_names(names) for title, names in settings.aes.items()}

    def wrap(self, sock: socket.socket) -> TlsSocket:
        """Raises :class:`OSError` when the caller is gone already."""
        self.refresh()
        return TlsSocket(self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False))

    def refresh(self) -> None:
        """Take up new files. Those that cannot be used leave the former in force, until they change once more."""
        stamps = self._look()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._context = self._make(self._settings)
        except Misconfigured as error:
            _log.error("certificate_unusable", action="certificate_unusable", reason=error.reason)
        else:
            _log.info("certificate_taken_up", action="certificate_taken_up")

    def _look(self) -> list[tuple[int, ...] | None]:
        return [
            _stamp(path) for path in (self._settings.certificate_file, self._settings.key_file, self._settings.client_ca_file)
        ]


def _stamp(path: Path | None) -> tuple[int, ...] | None:
    """What changes with a file's content."""
    try:
        found = os.stat(path or "")  # noqa: PTH116  # follows links: certificates are often renewed by changing one
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
