"""Spool file + record + mapping -> normalised DICOM, for targets that ask for it. Pure: no clock, no network; same input, same bytes.

The object is never read into memory: what changes is written anew, everything else (pixel data above all) is copied bit for bit out of
the file when it is sent. Nothing of it is stored here. What the mapping may say stands in ``gateway/mapping/dicom_section.py``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.mapping.rules import Mapping
from gateway.model import JsonObject, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One element that differs from what was received."""

    path: str  #: e.g. ``RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose``
    before: str  #: for people; may hold patient data, so it goes to no log. Empty: it was absent or empty
    after: str  #: empty: removed
    rule: str  #: ``charset``, ``identity``, ``reference``, ``instance uid`` or the rule's place, ``pet_image.yaml:41:3``


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePatient:
    """Whose the object is by the decisions of people. What is not known of that patient is empty, never another patient's."""

    id: str
    issuer: str = ""
    name: JsonObject | None = None  #: as the converter ``person_name`` gives it
    birth_date: str = ""  #: FHIR date
    gender: str = ""  #: FHIR code
    decided_at: dt.datetime | None = None  #: when a person decided so


#: SOP Instance UID -> the UID under which the normalised object goes out (often the same); None: the object is not known here.
References = Callable[[str], str | None]


class Coerced:
    """One normalised object, ready to be written any number of times. Holds the file's mapping while it lives."""

    changes: tuple[Change, ...]  #: empty: the object goes out byte for byte as it was received
    problems: tuple[str, ...]  #: what could not be done, in words without patient data
    sop_instance_uid: str  #: a new one only when a number changed
    size_bytes: int

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The file, piece by piece."""
        raise NotImplementedError

    def write_to(self, stream: BinaryIO) -> None:
        """Write the whole Part 10 file."""
        for chunk in self.chunks():
            stream.write(chunk)


def coerce(
    path: Path,
    record: Record | None,
    mapping: Mapping,
    *,
    arrived_at: dt.datetime,
    patient: EffectivePatient | None = None,
    references: References | None = None,
) -> Coerced:
    """The object at ``path`` as ``mapping`` (its section ``dicom``) wants it.

    ``record`` is what the same mapping read from it. ``patient`` is given only when people decided that it belongs to another patient
    than its header says. ``arrived_at`` (aware) becomes Attribute Modification DateTime. Raises
    :class:`~gateway.errors.Quarantined` when the file cannot be read as DICOM.
    """
    raise NotImplementedError
