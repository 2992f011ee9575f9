"""What every place we publish to must be able to do: one contract for the embedded store and for remote FHIR servers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from gateway.model import JsonObject, Receipt


class Verdict(Enum):
    """What a failure asks for."""

    RETRY = "retry"  #: the target may take the same thing later
    PARK = "park"  #: it never will as it stands: a human must look


class Target(Protocol):
    """One place that holds what we publish."""

    @property
    def name(self) -> str:
        """How people and rows call it."""
        ...

    def send(self, bundle: JsonObject) -> Receipt:
        """Deliver a transaction. Sending the same again must change nothing. Raises a :class:`~gateway.errors.GatewayError`."""
        ...

    def verify(self, resources: Sequence[JsonObject], receipt: Receipt) -> bool:
        """Ask back: does the target hold what the receipt says?"""
        ...

    def classify(self, error: Exception) -> Verdict | None:
        """What this failure asks for; None when it is not a failure of delivery but a fault of ours."""
        ...
