"""What every place we publish to must be able to do: one contract for facts (FHIR), one for images (DICOM)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol

from gateway.errors import Misconfigured, Quarantined, Rejected, Retryable
from gateway.model import JsonObject, Receipt
from gateway.spool.deliveries import Given, InstanceTicket


class Verdict(Enum):
    """What a failure asks for."""

    RETRY = "retry"  #: the target may take the same thing later
    DOWN = "down"  #: the target takes nothing at all now: leave it alone for a while
    PARK = "park"  #: it never will as it stands: a human must look


def classify(error: Exception) -> Verdict | None:
    """What a failure asks for; None when it is not a failure of delivery but a fault of ours."""
    if isinstance(error, Retryable):
        return Verdict.DOWN if error.peer_down else Verdict.RETRY
    if isinstance(error, Quarantined | Rejected | Misconfigured):
        return Verdict.PARK
    return None


class Target(Protocol):
    """One place that holds the facts we publish."""

    @property
    def name(self) -> str:
        """How people and rows call it."""
        ...

    def check(self) -> None:
        """Look at the target once, before the first delivery, and log what people should know of it. Raises a
        :class:`~gateway.errors.GatewayError` when it does not answer; it is looked at again then."""
        ...

    def send(self, bundle: JsonObject) -> Receipt:
        """Deliver a transaction. Sending the same again must change nothing. Raises a :class:`~gateway.errors.GatewayError`."""
        ...

    def verify(self, resources: Sequence[JsonObject], receipt: Receipt) -> bool:
        """Ask back: does the target hold what the receipt says?"""
        ...


class Produced(Protocol):
    """A normalised object that is made while it is sent: :class:`gateway.normalise.coerce.Coerced`."""

    @property
    def sop_instance_uid(self) -> str: ...

    @property
    def digest(self) -> str:
        """SHA-256 of transfer syntax and data set."""
        ...

    @property
    def md5(self) -> str: ...

    @property
    def names_patient(self) -> bool:
        """It says itself to whom a person gave it."""
        ...

    def open(self) -> BinaryIO: ...


class ImageTarget(Protocol):
    """One place that holds the images we pass on."""

    @property
    def name(self) -> str:
        """How people and rows call it."""
        ...

    @property
    def parallel(self) -> int:
        """How many patients' queues may be worked on at once."""
        ...

    def check(self) -> None:
        """As :meth:`Target.check`."""
        ...

    @property
    def normalised(self) -> bool:
        """It gets normalised objects instead of the originals."""
        ...

    def deliver(self, ticket: InstanceTicket, file: Path, produced: Produced | None = None) -> Given | None:
        """Make the target hold (or mark) this instance, and ask back. Doing it again changes nothing.

        ``produced`` is sent instead of the file, and takes the place of what was given before; it is returned once it is held. Raises a
        :class:`~gateway.errors.GatewayError` when the target does not hold it afterwards.
        """
        ...

    def holds(self, sop_instance_uid: str, digest: str, file: Path) -> bool:
        """Ask back: does it hold this original now? Raises a :class:`~gateway.errors.GatewayError` when it cannot tell."""
        ...
