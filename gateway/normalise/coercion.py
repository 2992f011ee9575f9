"""The changes that a mapping's section ``dicom`` makes to one object, in order: text, identity, elements, UID, references; then the memory.

Every rule reads the object as it was received, so that no rule depends on what another one wrote.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from pydicom.datadict import keyword_for_tag

from gateway.dicom import values
from gateway.dicom.charset import CHARSET_TAG
from gateway.dicom.paths import Path, Root, Step, vr_of
from gateway.dicom.reading import Header
from gateway.dicom.rewrite import DataSet, Encoding, tree
from gateway.dicom.values import Invalid
from gateway.dicom.walker import name_of
from gateway.dicom.writing import text_bytes
from gateway.mapping.dicom_rules import IDENTITY, CopyElement, ElementRule, Remove, SetField, SetText
from gateway.mapping.rules import REPEATED, Mapping
from gateway.model import Json, JsonObject, Record
from gateway.normalise import coerced_values, recode
from gateway.normalise.coerced_values import tag_of
from gateway.normalise.original_attributes import ORIGINAL_ATTRIBUTES, Modification, Reason, append, modifying_system
from gateway.normalise.produced import Change
from gateway.normalise.record import Reading, SiteContext

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
_STUDY_UID, _SERIES_UID = 0x0020000D, 0x0020000E
_REFERENCED_CLASS, _REFERENCED_INSTANCE = 0x00081150, 0x00081155
_CONTENT, _ROWS = tag_of("ContentSequence"), tag_of("Rows")
_SOURCE_IMAGES, _PREDECESSORS = tag_of("SourceImageSequence"), tag_of("PredecessorDocumentsSequence")
#: PS3.16 CID 7202: source image for image processing operation.
_PURPOSE = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "121322", "text": "Source image for image processing operation"}  # fmt: skip  # noqa: E501
#: Names of our UUIDs: the received UID and what changed give the new one, so that nobody need remember it.
_NAMESPACE = uuid.UUID("5a0a3c0e-6b57-5d0b-9d5c-2f6c0f2b8a11")


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


@dataclass(frozen=True, slots=True)
class _Edit:
    """A plain element to be written, or taken away (``text`` None)."""

    place: DataSet
    tag: int
    vr: str
    text: str | None
    path: str
    rule: str
    is_number: bool = False


class Job:
    """One object on its way from what was received to what is sent."""

    def __init__(
        self,
        header: Header,
        record: Record | None,
        mapping: Mapping,
        patient: EffectivePatient | None,
        references: References | None,
    ) -> None:
        walked = header.walk
        self.root = tree(walked, Encoding(implicit=walked.is_implicit_vr, big=not walked.is_little_endian))
        self.sop_instance_uid = walked.text(SOP_INSTANCE_UID)
        self.changes: list[Change] = []
        self.problems: list[str] = []
        self._header = header
        self._record = record
        self._mapping = mapping
        self._rules = mapping.dicom
        self._top = Root(header)
        self._patient = patient if mapping.dicom.identity else None
        self._references = references
        self._former: dict[int, bytes] = {}  #: top-level elements as they were
        self._numbers: list[str] = []  #: what changed of numbers, for the new UID

    def run(self) -> None:
        """Change what the rules ask for. Raises :class:`~gateway.normalise.recode.NotExact` when the object must stay as it is."""
        edits = [*self._identity(), *self._elements()]
        self._charset(edits)
        for edit in edits:
            self._apply(edit)
        for rule in self._rules.elements:
            if vr_of(rule.target.steps[-1].tag) == "SQ" and not isinstance(rule.action, Remove):
                self._codes(rule)
        if self._numbers:
            self._renumber()
        if self._references is not None:
            self._remap()

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

    # --- what the rules ask for

    def _identity(self) -> list[_Edit]:
        patient = self._patient
        if patient is None:
            return []
        wanted = {
            "PatientID": patient.id,
            "IssuerOfPatientID": patient.issuer,
            "PatientName": coerced_values.person_name(patient.name) if patient.name else "",
            "PatientBirthDate": patient.birth_date.replace("-", "") if len(patient.birth_date) == 10 else "",
            "PatientSex": coerced_values.sex(patient.gender),
        }
        edits = []
        for keyword, text in wanted.items():
            tag = tag_of(keyword)
            missing = keyword == "IssuerOfPatientID" and not text
            edits.append(_Edit(self.root, tag, vr_of(tag), None if missing else text, keyword, "identity"))
        return edits

    def _elements(self) -> list[_Edit]:
        edits: list[_Edit] = []
        for rule in self._rules.elements:
            if vr_of(rule.target.steps[-1].tag) == "SQ" and not isinstance(rule.action, Remove):
                continue
            for place, step, path, index in self._places(rule):
                try:
                    edit = self._edit(rule, place, step, path, index)
                except Invalid as error:
                    self.problems.append(f"{rule.where}: {path} {error}")
                    continue
                if edit is not None:
                    edits.append(edit)
        return edits

    def _edit(self, rule: ElementRule, place: DataSet, step: Step, path: str, index: int | None) -> _Edit | None:
        vr = vr_of(step.tag)
        if isinstance(rule.action, Remove):
            return (
                _Edit(place, step.tag, vr, None, path, rule.where, rule.changes_numbers) if step.tag in place.elements else None
            )
        text = self._text(rule, vr, index)
        if text is None:
            return None
        text_bytes(vr, text, "<")
        return _Edit(place, step.tag, vr, text, path, rule.where, rule.changes_numbers)

    def _text(self, rule: ElementRule, vr: str, index: int | None) -> str | None:
        action = rule.action
        if isinstance(action, SetText):
            return action.text
        if isinstance(action, CopyElement):
            reading = self._reading(index)
            found = next((found for source in action.sources if (found := reading.element(source))), None)
            return "\\".join(coerced_values.number_text(text, vr) for text in found.texts) if found and found.texts else None
        if isinstance(action, SetField):
            value = self._field(action.name, index)
            return None if value is None else coerced_values.text_of(value, vr, action.unit)
        return None

    def _field(self, name: str, index: int | None) -> Json:
        """What the record says; ``index`` tells of which administration."""
        level, *keys = name.split(".")
        if self._record is None:
            return None
        shared = self._record.shared
        if level == REPEATED:
            tree: Json = shared.administrations[index] if index is not None else None
        else:
            tree = self._record.instance if level == "instance" else getattr(shared, level)
        for key in keys:
            tree = tree.get(key) if isinstance(tree, dict) else None
        return tree

    def _reading(self, index: int | None) -> Reading:
        """What conditions and copies look at: the object as it was received, and the record."""
        known = {rule.name: value for rule in self._mapping.fields if (value := self._field(rule.name, index)) is not None}
        repeated = self._mapping.repeated
        items = {}
        if index is not None and isinstance(repeated, Path):
            found = self._top.find(repeated)
            items = {REPEATED: found.items[index]} if found else {}
        return Reading(self._top, _ANYWHERE, items=items, known=known)

    def _places(self, rule: ElementRule) -> list[tuple[DataSet, Step, str, int | None]]:
        """Where a rule writes: data set, last step, path for people, and which administration is told of there."""
        starts: list[tuple[DataSet, str, int | None]] = self._administrations() if rule.per_item else [(self.root, "", None)]
        found = []
        for start, prefix, index in starts:
            if rule.when is not None and not self._reading(index).holds(rule.when):
                continue
            place = self._walk(start, rule.target.steps[:-1])
            if place is None:
                self.problems.append(f"{rule.where}: there is no item at {rule.target.text}")
                continue
            found.append((place, rule.target.steps[-1], prefix + rule.target.text, index))
        return found

    def _administrations(self) -> list[tuple[DataSet, str, int | None]]:
        repeated = self._mapping.repeated
        if self._record is None or not isinstance(repeated, Path):
            return []
        place = self._walk(self.root, repeated.steps[:-1])
        items = place.items(repeated.steps[-1].tag) if place else []
        if len(items) != len(self._record.shared.administrations):
            return []  # some item says nothing; which one is not known any more
        return [(item, f"{repeated.text}[{index}].", index) for index, item in enumerate(items)]

    def _walk(self, start: DataSet, steps: tuple[Step, ...]) -> DataSet | None:
        place = start
        for step in steps:
            items = place.items(step.tag)
            if (step.index or 0) >= len(items):
                return None
            place = items[step.index or 0]
        return place

    # --- writing

    def _charset(self, edits: list[_Edit]) -> None:
        """To UTF-8 when the rules say so, or when a new text needs letters that the object's own set may lack."""
        declared = recode.charset_of(self.root)
        foreign = any(edit.text is not None and not edit.text.isascii() for edit in edits)
        if declared == recode.UTF8 or not (self._rules.utf8 or foreign):
            return
        former = self.root.former(CHARSET_TAG)
        before = {tag: self.root.former(tag) for tag, node in self.root.elements.items() if node.vr == "SQ"}
        own = recode.to_utf8(self.root, declare=foreign)
        if declared or foreign:
            self._former[CHARSET_TAG] = former
            self.changes.append(Change(path="SpecificCharacterSet", before=_shown(declared), after="ISO_IR 192", rule="charset"))
        for tag in sorted(own):
            self._former[tag] = before[tag]
            self.changes.append(
                Change(path=f"{name_of(tag)}[*].SpecificCharacterSet", before="", after="ISO_IR 192", rule="charset")
            )

    def _apply(self, edit: _Edit) -> None:
        place, tag = edit.place, edit.tag
        present = tag in place.elements
        before = _shown(place.raw(tag)) if present and place.elements[tag].vr != "SQ" else ""
        if edit.text is None:
            if not present:
                return
            self._touch_path(edit)
            place.remove(tag)
        else:
            if present and _same(edit.vr, before, edit.text):
                return
            if not present and not edit.text:
                return
            self._touch_path(edit)
            place.put(tag, edit.vr, text_bytes(edit.vr, edit.text, place.encoding.order))
        self.changes.append(Change(path=edit.path, before=before, after=edit.text or "", rule=edit.rule))
        if edit.is_number:
            self._numbers.append(f"{edit.path}={edit.text}")

    def _codes(self, rule: ElementRule) -> None:
        action = rule.action
        if not isinstance(action, SetField):
            return
        for place, step, path, index in self._places(rule):
            concept = self._field(action.name, index)
            if not isinstance(concept, dict) or "code" not in concept:
                continue
            top = self._top_of(rule)
            former = self.root.former(top) if top not in self._former else self._former[top]
            items = place.items(step.tag)
            item = items[step.index or 0] if (step.index or 0) < len(items) else None
            fresh = item is None
            item = item or place.new_item()
            before = coerced_values.shown_code(item)
            try:
                changed = coerced_values.set_code(item, concept, self._mapping.codes)
            except Invalid as error:
                self.problems.append(f"{rule.where}: {path} {error}")
                continue
            if not changed:
                continue
            self._former[top] = former
            if fresh:
                place.append(step.tag, item)
            self.changes.append(Change(path=path, before=before, after=coerced_values.shown_code(item), rule=rule.where))
            if rule.changes_numbers:
                self._numbers.append(f"{path}={coerced_values.shown_code(item)}")

    def _top_of(self, rule: ElementRule) -> int:
        if rule.per_item and isinstance(self._mapping.repeated, Path):
            return self._mapping.repeated.steps[0].tag
        return rule.target.steps[0].tag

    def _touch_path(self, edit: _Edit) -> None:
        keyword = edit.path.partition("[")[0].partition(".")[0]
        self._touch(tag_of(keyword))

    def _touch(self, tag: int) -> None:
        """Remember a top-level element as it was, before its first change."""
        self._former.setdefault(tag, self.root.former(tag))

    # --- identity of the object

    def _renumber(self) -> None:
        """A number changed, so this is another object: a new UID from the received one and the change, and a link to its source."""
        received = self.sop_instance_uid
        name = "|".join((received, *self._numbers))
        self.sop_instance_uid = f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"
        self._touch(SOP_INSTANCE_UID)
        order = self.root.encoding.order
        self.root.put(SOP_INSTANCE_UID, "UI", text_bytes("UI", self.sop_instance_uid, order))
        self.changes.append(Change(path="SOPInstanceUID", before=received, after=self.sop_instance_uid, rule="instance uid"))
        self._follow({received: self.sop_instance_uid}.get)
        link = self.root.new_item()
        link.put(_REFERENCED_CLASS, "UI", text_bytes("UI", _shown(self.root.raw(SOP_CLASS_UID)), order))
        link.put(_REFERENCED_INSTANCE, "UI", text_bytes("UI", received, order))
        if _CONTENT in self.root.elements:
            self._link(_PREDECESSORS, self._predecessor(link))
        elif _ROWS in self.root.elements:
            purpose = link.new_item()
            coerced_values.set_code(purpose, _PURPOSE, self._mapping.codes)
            if purpose.elements:
                link.put_items(tag_of("PurposeOfReferenceCodeSequence"), [purpose])
            self._link(_SOURCE_IMAGES, link)

    def _link(self, tag: int, item: DataSet) -> None:
        self._touch(tag)
        self.root.append(tag, item)
        self.changes.append(Change(path=str(keyword_for_tag(tag)), before="", after="the received object", rule="instance uid"))

    def _predecessor(self, link: DataSet) -> DataSet:
        """PS3.3 table C.17.2-3: study, series and instance of the document that this one replaces."""
        order = self.root.encoding.order
        series, study = self.root.new_item(), self.root.new_item()
        series.put(_SERIES_UID, "UI", text_bytes("UI", _shown(self.root.raw(_SERIES_UID)), order))
        series.put_items(tag_of("ReferencedSOPSequence"), [link])
        study.put(_STUDY_UID, "UI", text_bytes("UI", _shown(self.root.raw(_STUDY_UID)), order))
        study.put_items(tag_of("ReferencedSeriesSequence"), [series])
        return study

    def _remap(self) -> None:
        """References to objects that go out under another UID follow them; what is not known here keeps its UID and is told."""
        references = self._references
        assert references is not None  # noqa: S101
        own = {self.sop_instance_uid, _shown(bytes(self._header.raw(SOP_INSTANCE_UID)))}
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

    def _follow(self, follow: Callable[[str], str | None]) -> None:
        for tag, node in list(self.root.elements.items()):
            if node.vr == "SQ" and tag != ORIGINAL_ATTRIBUTES:
                former = self.root.former(tag)
                count = _follow_items(self.root, tag, follow)
                if count:
                    self._former.setdefault(tag, former)
                    told = f"{count} references to objects with a new UID"
                    self.changes.append(Change(path=name_of(tag), before="", after=told, rule="reference"))


def _follow_items(dataset: DataSet, tag: int, follow: Callable[[str], str | None]) -> int:
    count = 0
    for item in dataset.items(tag):
        received = _shown(item.raw(_REFERENCED_INSTANCE)) if _REFERENCED_INSTANCE in item.elements else ""
        sent = follow(received) if received else None
        if sent is not None and sent != received:
            item.put(_REFERENCED_INSTANCE, "UI", text_bytes("UI", sent, item.encoding.order))
            count += 1
        for inner, node in list(item.elements.items()):
            if node.vr == "SQ":
                count += _follow_items(item, inner, follow)
    return count


#: Copies and conditions read elements and fields that have their zone already.
_ANYWHERE = SiteContext(timezone=ZoneInfo("UTC"))
_IDENTITY_TAGS = frozenset(map(tag_of, IDENTITY))


def _same(vr: str, before: str, after: str) -> bool:
    """Does an element say this already? Numbers by their value, so that a spelling is no change."""
    if before == after.strip():
        return True
    if vr not in ("DS", "IS"):
        return False
    try:
        return [values.decimal(one.strip()) for one in before.split("\\")] == [
            values.decimal(one.strip()) for one in after.split("\\")
        ]
    except Invalid:
        return False


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip(" \0")
