"""What an association, the loop around it and those who work for it tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gateway.model import Arrival
from gateway.receive.door import Door as Entrance
from gateway.receive.door import Expected
from gateway.receive.settings import ReceiveSettings
from gateway.spool.incoming import Incoming


class State(Enum):
    WAITING = "waiting"  #: connected, the request has not come yet
    OPEN = "open"  #: the association is agreed
    ENDING = "ending"  #: all is said; the connection closes when ``out`` has been sent


class OnEvent(Protocol):
    """Told what happens, for metrics and for the memory of callers.

    Fields are counts, seconds, bytes, statuses, and of the other side its titles and address; never an identifier from an object.
    """

    def __call__(self, event: str, /, **fields: str | int | float) -> None: ...


class Certificate(Protocol):
    """What the other side showed over TLS."""

    @property
    def names(self) -> frozenset[str]:
        """Those of its certificate; empty when it showed none."""


class Host(Protocol):
    """What an association needs from the loop around it."""

    settings: ReceiveSettings
    door: Entrance
    on_event: OnEvent

    def open_associations(self) -> int: ...

    def associations_from(self, peer: str) -> int:
        """Those open from one address."""

    def congestion(self) -> str | None:
        """Why new associations cannot be taken just now."""

    def refusal(self) -> str | None:
        """Why new objects cannot be taken just now."""


@dataclass(frozen=True, slots=True)
class Job:
    """A complete object that waits to be checked and made durable."""

    incoming: Incoming
    arrival: Arrival
    expected: Expected


@dataclass(frozen=True, slots=True)
class Action:
    """A complete N-ACTION of storage commitment that waits to be recorded."""

    data: bytes
    transfer_syntax_uid: str
    calling_ae: str
    called_ae: str
