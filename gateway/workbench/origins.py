"""Where the rule in force stands: file and line of a field, a resource's element, a section, inheritance and overlays resolved."""

from __future__ import annotations

from pathlib import Path

from gateway.mapping.complaints import Complaint
from gateway.mapping.files import Effective, Piece, read_files, resolve


class Origins:
    """The lines of one directory of mappings, by the name of the mapping that is in force."""

    def __init__(self, directory: Path) -> None:
        complaints: list[Complaint] = []
        self._effective = {one.name: one for one in resolve(read_files(directory, complaints), complaints)}

    def effective(self, mapping: str) -> Effective:
        """The mapping's own YAML with all that it inherits. Raises :class:`KeyError`."""
        return self._effective[mapping]

    def field(self, mapping: str, name: str) -> str:
        """``pet_common.yaml:43`` for a field; empty when nobody writes it."""
        return _line(self._effective[mapping].fields.get(name))

    def resource(self, mapping: str, name: str, *below: str | int) -> str:
        """The line of a resource's template, or of a place in it."""
        return _line(self._effective[mapping].resources.get(name), *below)

    def dicom(self, mapping: str, key: str) -> str:
        """The line of a key of the section ``dicom``."""
        return _line(self._effective[mapping].dicom.get(key))


def _line(piece: Piece | None, *below: str | int) -> str:
    if piece is None:
        return ""
    return piece.origin.document.where((*piece.origin.place, *below)).rpartition(":")[0]
