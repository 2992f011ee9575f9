"""What every source of the past must be able to do, and how an object gets from it into the spool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.spool.backfills import StudyRef


class Taker(Protocol):
    """Takes objects in; counts what was taken and what the door refused."""

    def take(self, part10: bytes) -> None:
        """One Part 10 file. Raises :class:`~gateway.errors.Retryable` when the spool cannot take it now."""
        ...

    def note_sent(self, count: int, refused: int) -> None:
        """The source says that it sent so many to our DICOM port by itself (C-MOVE)."""
        ...


class Source(Protocol):
    def studies(self, day: str, modalities: Sequence[str]) -> list[StudyRef]:
        """The studies of one day (YYYY-MM-DD) that hold one of these modalities; none named: all. Raises a GatewayError."""
        ...

    def fetch(self, study: StudyRef, modalities: Sequence[str], taker: Taker) -> None:
        """Every object of a study (of these modalities) to ``taker``. Raises a :class:`~gateway.errors.GatewayError`."""
        ...
