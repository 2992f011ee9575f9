"""What a change of mappings would change: the same headers read by two sets of mappings, resource by resource, element by element.

Pure: nothing is written, no clock is read. Used by ``isobridge mappings diff`` and by the deployment of mappings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gateway.dicom.reading import Header
from gateway.mapping.language import Mappings
from gateway.model import Json
from gateway.understanding import Understanding


class What(StrEnum):
    """What a difference is about."""

    RESOURCE = "resource"  #: a whole resource appears or goes
    ELEMENT = "element"  #: one element of a resource
    DICOM = "dicom"  #: one element of the normalised DICOM
    ISSUE = "issue"  #: an issue appears or vanishes
    QUARANTINE = "quarantine"  #: an object is set aside now, or no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that would change. ``old`` and ``new`` are JSON; ``None`` means that there is nothing."""

    what: What
    subject: str  #: ``ImagingStudy/<id>``; for DICOM, issues and quarantine the name of the header
    element: str  #: ``ImagingStudy.series[uid=1.2].modality.code``, a DICOM keyword path, or the field of an issue
    old: Json = None
    new: Json = None


def mapping_diff(
    old: Mappings, new: Mappings, headers: Iterable[tuple[str, Header]], *, site: Understanding | None = None
) -> list[Difference]:
    """Everything that would come out otherwise, in a fixed order; empty when nothing changes.

    ``headers`` come with a name to tell them by, e.g. a file name or a SOP Instance UID; each is used once and let go. ``site`` lends its
    zone, patient keys, identity and identity policy; without one they are invented, and ids mean nothing.
    """
    raise NotImplementedError
