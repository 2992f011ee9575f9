"""The changes to one object, in order: text, then what ``edits`` worked out, a new UID, references; then the memory of it all."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from pydicom.datadict import keyword_for_tag

from gateway.dicom.charset import CHARSET_TAG
from gateway.dicom.reading import Header
from gateway.dicom.rewrite import DataSet, Encoding, tree
from gateway.dicom.walker import name_of
from gateway.dicom.writing import text_bytes
from gateway.mapping.dicom_rules import IDENTITY
from gateway.mapping.rules import Mapping
from gateway.model import Record
from gateway.normalise import recode, successor
from gateway.normalise.coerced_values import tag_of
from gateway.normalise.edits import Edit, Edits, EffectivePatient
from gateway.normalise.original_attributes import ORIGINAL_ATTRIBUTES, Modification, Reason, append, modifying_system
from gateway.normalise.produced import Change
from gateway.normalise.successor import SOP_INSTANCE_UID, References

_SIGNATURES = 0xFFFAFFFA
_SIGNED = re.compile(rb"\xfa\xff\xfa\xff|\xff\xfa\xff\xfa")
_IDENTITY_TAGS = frozenset(map(tag_of, IDENTITY))


class Job:
    """One object on its way from what was received to what is sent."""

    def __init__(
        self,
        header: Header,
        record: Record | None,
        mapping: Mapping,
        patient: EffectivePatient | None,
        references: References | None,
        zone: dt.tzinfo | None,
        content_digest: Callable[[], str],
    ) -> None:
        """``content_digest`` is asked only when a number changed: it costs reading the whole file."""
        walked = header.walk
        self.root = tree(walked, Encoding(implicit=walked.is_implicit_vr, big=not walked.is_little_endian))
        self.sop_instance_uid = walked.text(SOP_INSTANCE_UID)
        self.changes: list[Change] = []
        self.problems: list[str] = []
        self._header = header
        self._mapping = mapping
        self._rules = mapping.dicom
        self._patient = patient if mapping.dicom.identity else None
        self._edits = Edits(header, self.root, record, mapping, self._patient, zone)
        self._references = references
        self._content_digest = content_digest
        self._former: dict[int, bytes] = {}  #: top-level elements as they were
        self._numbers: list[str] = []  #: what changed of numbers, for the new UID

    def run(self) -> None:
        """Change what is asked for. Raises :class:`~gateway.normalise.recode.NotExact` when the object must stay as it is."""
        edits = self._edits.all()
        self.problems += self._edits.problems
        self._charset(is_foreign=any(not edit.after.isascii() for edit in edits))
        for edit in edits:
            self._apply(edit)
        if self._numbers:
            self._renumber()
        if self._references is not None:
            self._remap(self._references)

    def remember(self, arrived_at: dt.datetime) -> None:
        """Write Original Attributes, and leave out the group lengths that are wrong now."""
        source = self._header.sending_ae
        identity = {tag: raw for tag, raw in self._former.items() if self._patient and tag in _IDENTITY_TAGS}
        decided_at = self._patient.decided_at if self._patient else None
        rest = {tag: raw for tag, raw in self._former.items() if tag not in identity}
        if CHARSET_TAG in rest and identity:
            identity[CHARSET_TAG] = rest[CHARSET_TAG]
        system = modifying_system(self._mapping.name, self._rules.version)
        groups = {tag >> 16 for tag in self._former} | {ORIGINAL_ATTRIBUTES >> 16}
        if rest:
            reason = Reason.CORRECT if self._numbers else Reason.COERCE
            append(self.root, Modification(reason=reason, at=arrived_at, system=system, source=source, former=rest))
        if identity:
            at = decided_at or arrived_at
            append(self.root, Modification(reason=Reason.CORRECT, at=at, system=system, source=source, former=identity))
        for group in groups:
            self.root.remove(group << 16)

    def _charset(self, *, is_foreign: bool) -> None:
        """To UTF-8 when the rules say so, or when a new text needs letters that the object's own set, or an item's, may lack."""
        declared = recode.charset_of(self.root)
        if not (self._rules.utf8 or is_foreign):
            return
        former = self.root.former(CHARSET_TAG)
        before = {tag: self.root.former(tag) for tag, node in self.root.elements.items() if node.vr == "SQ"}
        own = recode.to_utf8(self.root, declare=is_foreign)
        if declared != recode.UTF8 and (declared or is_foreign):
            self._former[CHARSET_TAG] = former
            self._tell("SpecificCharacterSet", declared.decode("ascii", "replace"), "ISO_IR 192", "charset")
        for tag in sorted(own):
            self._former[tag] = before[tag]
            self._tell(f"{name_of(tag)}[*].SpecificCharacterSet", "", "ISO_IR 192", "charset")

    def _apply(self, edit: Edit) -> None:
        self._touch(edit.top)
        place = edit.place
        if edit.code is not None:
            items = place.items(edit.tag)
            item = items[edit.item] if edit.item < len(items) else place.new_item()
            edit.code.write(item)
            if edit.item >= len(items):
                place.append(edit.tag, item)
        elif edit.text is None:
            place.remove(edit.tag)
        else:
            place.put(edit.tag, edit.vr, text_bytes(edit.vr, edit.text, place.encoding.order))
        self._tell(edit.path, edit.before, edit.after, edit.rule)
        if edit.is_number:
            self._numbers.append(f"{edit.path}={edit.after}")

    def _renumber(self) -> None:
        received = self.sop_instance_uid
        sent = self.sop_instance_uid = successor.new_uid(received, self._content_digest(), self._numbers)
        link = successor.link_to_source(self.root, self._mapping.codes)
        self._touch(SOP_INSTANCE_UID)
        self.root.put(SOP_INSTANCE_UID, "UI", text_bytes("UI", sent, self.root.encoding.order))
        self._tell("SOPInstanceUID", received, sent, "instance uid")
        self._follow({received: sent}.get)
        if link is not None:
            tag, item = link
            self._touch(tag)
            self.root.append(tag, item)
            self._tell(str(keyword_for_tag(tag)), "", "the received object", "instance uid")

    def _remap(self, references: References) -> None:
        """References to objects that go out under another UID follow them; what is not known here keeps its UID and is told."""
        own = {self.sop_instance_uid, self._header.walk.text(SOP_INSTANCE_UID)}
        unknown: set[str] = set()

        def follow(received: str) -> str | None:
            if received in own:
                return None
            sent = references(received)
            if sent is None:
                unknown.add(received)
            return sent

        self._follow(follow)
        if unknown:
            self.problems.append(f"{len(unknown)} referenced objects are not here: the references to them stay as they are")

    def _follow(self, follow: References) -> None:
        before = {tag: self.root.former(tag) for tag, node in self.root.elements.items() if node.vr == "SQ"}
        for tag, count in successor.followed(self.root, follow).items():
            self._former.setdefault(tag, before[tag])
            self._tell(name_of(tag), "", f"{count} references to objects with a new UID", "reference")

    def _tell(self, path: str, before: str, after: str, rule: str) -> None:
        self.changes.append(Change(path=path, before=before, after=after, rule=rule))

    def _touch(self, tag: int) -> None:
        """Remember a top-level element as it was, before its first change."""
        self._former.setdefault(tag, self.root.former(tag))


def is_signed(dataset: DataSet) -> bool:
    """True when a digital signature (PS3.3 C.12.1.1.3) stands anywhere in it; one that Original Attributes remember is history."""
    return _SIGNATURES in dataset.elements or any(
        is_signed(item)
        for tag, node in dataset.elements.items()
        if node.vr == "SQ" and tag != ORIGINAL_ATTRIBUTES and _SIGNED.search(dataset.buffer, node.start, node.stop)
        for item in dataset.items(tag)
    )
