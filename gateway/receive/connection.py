"""One peer's socket: bytes in, PDUs to the association, answers out, and the clock that ends what does not move."""

from __future__ import annotations

import contextlib
import socket
import time

from gateway.receive import guard
from gateway.receive.association import Association
from gateway.receive.containment import contained
from gateway.receive.guard import Framer, ProtocolViolation
from gateway.receive.settings import ReceiveSettings
from gateway.receive.talk import Host, State
from gateway.receive.tls import TlsFailure, TlsSocket

#: Linux: acknowledge at once. The kernel forgets it again and again, so it is set after each read that is not answered. A sender that
#: keeps Nagle's algorithm otherwise waits 40 ms, twice per object, for our delayed acknowledgement. An answer acknowledges by itself.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
#: PS3.8 9.1.5: how long the peer may take to close after the end (ARTIM).
_CLOSE_TIMEOUT_SECS = 5.0
#: A peer that asks without ever reading answers is ended when this much has gathered.
_UNREAD_MOST_BYTES = 64 << 10


class Connection:
    """See the module."""

    __slots__ = (
        "_framer", "_idle_secs", "_pdu_secs", "_settings", "_since", "_taken_bytes", "_tls", "_unread_since", "_window", "association",
        "is_open", "is_paused", "opened_at", "sock", "watched",
    )  # fmt: skip

    def __init__(self, sock: socket.socket | TlsSocket, peer: str, host: Host) -> None:
        self.sock = sock
        self._tls = sock if isinstance(sock, TlsSocket) else None
        self.association = Association(host, peer, certificate=self._tls)
        self.is_open = False  #: counted as an association
        self.is_paused = False  #: an object is being made durable elsewhere; nothing is read meanwhile
        self.watched = 0  #: the selector's events for it
        self.opened_at = time.monotonic()
        self._settings: ReceiveSettings = host.settings
        self._framer = Framer(guard.BEFORE_ASSOCIATION)
        self._since = self.opened_at
        self._pdu_secs, self._idle_secs = self._settings.pdu_timeout_secs, self._settings.idle_timeout_secs
        self._taken_bytes = 0
        self._window: tuple[float, int] | None = None  #: since when the rate of a message is measured, and ``_taken_bytes`` then
        self._unread_since: float | None = None  #: since when the peer has taken nothing of what is to be said

    @property
    def wants_write(self) -> bool:
        """There is something to send."""
        return bool(self.association.out) or self.is_shaking_hands

    @property
    def is_shaking_hands(self) -> bool:
        """A handshake of TLS waits until it can send."""
        return self._tls is not None and self._tls.wants_write

    @property
    def is_idle(self) -> bool:
        """Nothing is under way: a stop may end it now."""
        return not (self.is_paused or self.association.is_within_message or self._framer.is_within_pdu)

    def read(self, room: memoryview) -> bool:
        """Take what has come, through ``room``; False when the peer is gone. Call ``advance`` before ``room`` is used again."""
        try:
            count = self.sock.recv_into(room)
        except BlockingIOError:
            return True
        except TlsFailure as error:
            self.association.fail(str(error))
            return False
        except OSError:
            return False
        if not count:
            return False
        self._taken_bytes += count
        if self.association.state is State.ENDING:
            return True  # nobody listens any more; what comes must not gather
        if not self._framer.is_within_pdu and self.association.state is not State.WAITING:
            self._since = time.monotonic()  # a PDU begins; a request's time runs from connecting
        self._framer.feed(room[:count])
        return True

    def advance(self) -> None:
        """Work through complete PDUs until one needs the loop's help (``association.job``, ``action``) or none is left."""
        association = self.association
        if contained("association_input", self._advance) is None:
            association.abort(guard.NOT_SPECIFIED, "an internal fault")
        self._framer.keep()
        if _QUICKACK is not None and association.job is None and association.action is None and not association.out:
            with contextlib.suppress(OSError):  # gone: the next read will say so
                self.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _advance(self) -> bool:
        association, framer = self.association, self._framer
        try:
            while association.job is None and association.action is None and association.state is not State.ENDING:
                pdu = framer.next_pdu()
                if pdu is None:
                    break
                association.on_pdu(*pdu)
                self._since = time.monotonic()
                if framer.caps is guard.BEFORE_ASSOCIATION and association.state is State.OPEN:
                    self._on_open()
        except ProtocolViolation as error:
            association.abort(error.status, error.reason)
        return True

    def _on_open(self) -> None:
        """The caller has a name now: its own limits count."""
        self._framer.caps = guard.during_association(self._settings.max_pdu_bytes)
        own = self._settings.policy(self.association.calling_ae)
        self._pdu_secs = self._pdu_secs if own.pdu_timeout_secs is None else own.pdu_timeout_secs
        self._idle_secs = self._idle_secs if own.idle_timeout_secs is None else own.idle_timeout_secs

    def flush(self) -> bool:
        """Send what is to be said; False when the connection should be closed now."""
        out = self.association.out
        while out:
            try:
                sent = self.sock.send(out)
            except BlockingIOError:
                if self._unread_since is None:
                    self._unread_since = time.monotonic()
                return len(out) <= _UNREAD_MOST_BYTES
            except OSError:
                return False
            del out[:sent]
            self._unread_since = None
        return True

    def is_overdue(self, now: float) -> str | None:
        """Why this connection has had time enough, if it has."""
        waited, settings, state = now - self._since, self._settings, self.association.state
        if self.is_paused:
            self._window = None
            return None
        if state is State.WAITING:
            return "no association request in time" if waited > settings.request_timeout_secs else None
        if state is State.ENDING:
            return "closed" if waited > _CLOSE_TIMEOUT_SECS else None
        if self._unread_since is not None and now - self._unread_since > self._pdu_secs:
            return "answers were not read in time"
        if self._framer.is_within_pdu and waited > self._pdu_secs:
            return "a message did not come to its end in time"
        if self._is_too_slow(now):
            return "an object came too slowly"
        return "idle for too long" if waited > self._idle_secs else None

    def _is_too_slow(self, now: float) -> bool:
        """Whether a message that is under way came below the minimum rate for as long as one PDU may take."""
        if not self.association.is_within_message:
            self._window = None
        elif self._window is None:
            self._window = now, self._taken_bytes
        elif now - self._window[0] > self._pdu_secs:
            took_secs, count = now - self._window[0], self._taken_bytes - self._window[1]
            self._window = now, self._taken_bytes
            return count < self._settings.minimum_bytes_per_sec * took_secs
        return False
