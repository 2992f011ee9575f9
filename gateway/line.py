"""The parts of a running gateway that the stages need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.keep.originals import Originals
from gateway.publish.target import ImageTarget, Target
from gateway.spool.files import SpoolFiles
from gateway.spool.ledger import Ledger
from gateway.understanding import Understanding


@dataclass(slots=True)
class Line:
    """What a stage is given beside its noun. ``understanding`` is another one after a deployment of mappings."""

    understanding: Understanding
    files: SpoolFiles
    ledger: Ledger
    targets: Sequence[Target]  #: FHIR: they get sealed versions
    archives: Sequence[ImageTarget] = ()  #: DICOM: they get the instances themselves
    originals: Originals | None = None  #: who fetches back what retention let go

    def original(self, day: str, digest: str) -> Path:
        """The file of an instance. Raises :class:`~gateway.errors.Retryable` when it left the spool and cannot be had now."""
        return self.originals.path(day, digest) if self.originals else self.files.locate(day, digest)
