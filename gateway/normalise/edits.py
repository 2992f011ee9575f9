"""What a mapping's section ``dicom`` and the decisions of people ask of one object, as edits that are known to fit.

Nothing is written here. Every rule reads the object as it was received, so that no rule depends on what another one wrote. A rule that
cannot be followed costs that rule: it is told in ``problems``.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from zoneinfo import ZoneInfo

from pydicom.datadict import keyword_for_tag

from gateway.dicom import values
from gateway.dicom.items import Root
from gateway.dicom.paths import Path, Step, vr_of
from gateway.dicom.reading import Header
from gateway.dicom.rewrite import DataSet
from gateway.dicom.values import Invalid
from gateway.dicom.writing import check
from gateway.mapping.dicom_rules import NUMBER_VRS, UNIT_KEYWORDS, CopyElement, ElementRule, Remove, SetField, SetText
from gateway.mapping.rules import REPEATED, Mapping
from gateway.model import Json, JsonObject, Record
from gateway.normalise import coerced_values, spelling
from gateway.normalise.coerced_values import Code, tag_of
from gateway.normalise.record import Reading, SiteContext

#: What Python's own conversions raise on content that nobody foresaw. Other errors are faults of ours.
UNFORESEEN = (ValueError, ArithmeticError, LookupError, struct.error)
_ZONE = tag_of("TimezoneOffsetFromUTC")
#: Copies and conditions read elements and fields that have their zone already.
_ANYWHERE = SiteContext(timezone=ZoneInfo("UTC"))
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePatient:
    """Whose the object is by the decisions of people. What is not known of that patient is empty, never another patient's."""

    id: str
    issuer: str = ""
    name: JsonObject | None = None  #: as the converter ``person_name`` gives it
    birth_date: str = ""  #: FHIR date
    gender: str = ""  #: FHIR code
    decided_at: dt.datetime | None = None  #: when a person decided so


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A plain element to be written (``text``), a code item (``code``), or something to be taken away (neither)."""

    place: DataSet
    tag: int
    vr: str
    path: str  #: for people
    rule: str
    top: int  #: the top-level element in which it stands
    before: str
    text: str | None = None
    code: Code | None = None
    item: int = 0  #: which item holds the code; one behind the last: a new one
    is_number: bool = False

    @property
    def after(self) -> str:
        if self.code is not None:
            return f"({self.code.scheme}, {self.code.value}, {self.code.meaning})"
        return self.text or ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a rule writes, and which administration is told of there."""

    dataset: DataSet
    path: str
    top: int
    index: int | None


class Edits:
    """Works out the edits of one object."""

    def __init__(
        self,
        header: Header,
        root: DataSet,
        record: Record | None,
        mapping: Mapping,
        patient: EffectivePatient | None,
        zone: dt.tzinfo | None,
    ) -> None:
        self.problems: list[str] = []
        self._root = root
        self._record = record
        self._mapping = mapping
        self._patient = patient
        self._top = Root(header)
        self._zone = _zone_of(header, zone)

    def all(self) -> list[Edit]:
        """Those that change something, in the order of the rules."""
        edits = [*self._identity(), *(edit for rule in self._mapping.dicom.elements for edit in self._of(rule))]
        return [edit for edit in edits if not self._is_said(edit)]

    def _is_said(self, edit: Edit) -> bool:
        if edit.code is not None:
            items = edit.place.items(edit.tag)
            return edit.item < len(items) and edit.code.stands_in(items[edit.item])
        present = edit.tag in edit.place.elements
        if edit.text is None:
            return not present
        return spelling.is_same(edit.vr, edit.before, edit.text, self._zone) if present else not edit.text

    # --- the patient

    def _identity(self) -> Iterator[Edit]:
        """None of it when the object cannot hold the patient's id: half an identity would be worse, and it is marked then."""
        patient = self._patient
        if patient is None:
            return
        wanted = {
            "PatientID": patient.id,
            "IssuerOfPatientID": patient.issuer,
            "PatientName": coerced_values.person_name(patient.name) if patient.name else "",
            "PatientBirthDate": patient.birth_date.replace("-", "") if len(patient.birth_date) == 10 else "",
            "PatientSex": coerced_values.sex(patient.gender),
        }
        for keyword, text in wanted.items():
            tag = tag_of(keyword)
            vr = vr_of(tag)
            try:
                check(tag, vr, text)
            except Invalid as error:
                if keyword == "PatientID":
                    self.problems.append(
                        f"identity: the id of the patient to whom it belongs {error}: it keeps the former patient"
                    )
                    return
                self.problems.append(f"identity: {keyword} of the patient to whom it belongs {error}: it is left out")
                text = ""
            missing = keyword == "IssuerOfPatientID" and not text
            yield Edit(
                place=self._root, tag=tag, vr=vr, path=keyword, rule="identity", top=tag,
                before=spelling.readable(self._root, self._root, tag), text=None if missing else text,
            )  # fmt: skip

    # --- elements

    def _of(self, rule: ElementRule) -> Iterator[Edit]:
        for place in self._told(rule.where, rule.target.text, lambda: list(self._places(rule))) or ():
            edit = self._told(rule.where, place.path, partial(self._edit, rule, place))
            if edit is not None:
                yield edit

    def _told(self, where: str, path: str, work: Callable[[], _Made | None]) -> _Made | None:
        """The result; None when the content does not allow it, which is told."""
        try:
            return work()
        except Invalid as error:
            self.problems.append(f"{where}: {path} {error}")
        except UNFORESEEN as error:
            self.problems.append(f"{where}: {path} cannot be written ({type(error).__name__})")
        return None

    def _edit(self, rule: ElementRule, place: _Place) -> Edit | None:
        step = rule.target.steps[-1]
        if isinstance(rule.action, Remove):
            is_number = rule.changes_numbers and (vr_of(step.tag) != "SQ" or _holds_numbers(place.dataset, step.tag))
            return self._made(rule, place, is_number=is_number)
        if vr_of(step.tag) == "SQ":
            return self._code(rule, place)
        vr = vr_of(step.tag)
        text = self._text(rule, vr, place.index)
        if text is None:
            return None
        check(step.tag, vr, text)
        return self._made(rule, place, text=text, is_number=rule.changes_numbers)

    def _code(self, rule: ElementRule, place: _Place) -> Edit | None:
        step = rule.target.steps[-1]
        concept = self._field(rule.action.name, place.index) if isinstance(rule.action, SetField) else None
        code = coerced_values.code_of(concept, self._mapping.codes) if isinstance(concept, dict) else None
        if code is None:
            return None
        items, wanted = place.dataset.items(step.tag), step.index or 0
        if wanted > len(items):
            raise Invalid("has fewer items")
        before = coerced_values.shown_code(items[wanted]) if wanted < len(items) else ""
        return self._made(rule, place, code=code, item=wanted, before=before, is_number=rule.changes_numbers)

    def _made(
        self,
        rule: ElementRule,
        place: _Place,
        *,
        is_number: bool,
        text: str | None = None,
        code: Code | None = None,
        item: int = 0,
        before: str | None = None,
    ) -> Edit:
        tag = rule.target.steps[-1].tag
        former = spelling.readable(self._root, place.dataset, tag) if before is None else before
        return Edit(
            place=place.dataset, tag=tag, vr=vr_of(tag), path=place.path, rule=rule.where, top=place.top,
            before=former, text=text, code=code, item=item, is_number=is_number,
        )  # fmt: skip

    def _text(self, rule: ElementRule, vr: str, index: int | None) -> str | None:
        action = rule.action
        if isinstance(action, SetText):
            return action.text
        if isinstance(action, CopyElement):
            reading = self._reading(index)
            found = next((found for source in action.sources if (found := reading.element(source))), None)
            return "\\".join(coerced_values.copied_text(text, vr) for text in found.texts) if found and found.texts else None
        if isinstance(action, SetField):
            value = self._field(action.name, index)
            return None if value is None else coerced_values.text_of(value, vr, action.unit, self._zone)
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

    # --- places

    def _places(self, rule: ElementRule) -> Iterator[_Place]:
        whole = _Place(self._root, "", rule.target.steps[0].tag, None)
        for start in self._administrations() if rule.per_item else [whole]:
            if rule.when is not None and not self._reading(start.index).holds(rule.when):
                continue
            dataset = _walk(start.dataset, rule.target.steps[:-1])
            if dataset is None:
                self.problems.append(f"{rule.where}: there is no item at {rule.target.text}")
            else:
                yield _Place(dataset, start.path + rule.target.text, start.top, start.index)

    def _administrations(self) -> list[_Place]:
        repeated = self._mapping.repeated
        if self._record is None or not isinstance(repeated, Path):
            return []
        place = _walk(self._root, repeated.steps[:-1])
        items = place.items(repeated.steps[-1].tag) if place else []
        if len(items) != len(self._record.shared.administrations):
            return []  # some item says nothing; which one is not known any more
        top = repeated.steps[0].tag
        return [_Place(item, f"{repeated.text}[{index}].", top, index) for index, item in enumerate(items)]


def _walk(start: DataSet, steps: tuple[Step, ...]) -> DataSet | None:
    place = start
    for step in steps:
        items = place.items(step.tag)
        if (step.index or 0) >= len(items):
            return None
        place = items[step.index or 0]
    return place


def _holds_numbers(place: DataSet, tag: int) -> bool:
    """Would taking this sequence away take numbers away, or what says their unit?"""
    return any(
        (node.vr == "SQ" and (keyword_for_tag(inner) in UNIT_KEYWORDS or _holds_numbers(item, inner)))
        or ((node.vr in NUMBER_VRS or keyword_for_tag(inner) in UNIT_KEYWORDS) and item.raw(inner).strip(b" \0") != b"")
        for item in place.items(tag)
        for inner, node in item.elements.items()
        if inner & 0xFFFF
    )


def _zone_of(header: Header, site: dt.tzinfo | None) -> dt.tzinfo | None:
    """The zone in which the object's own dates and times count: its own word, else the site's; None where its word is damaged."""
    told = header.walk.text(_ZONE)
    try:
        return values.utc_offset(told) if told else site
    except Invalid:
        return None
