"""The section ``dicom`` of a mapping file -> rules for normalised DICOM, which a target gets that asks for it (``send: normalised``).

::

    dicom:
      charset: utf-8                  # all text in ISO_IR 192
      identity: effective             # the patient that holds after the decisions of people
      elements:
        $administration.RadionuclideCodeSequence: {field: administration.radionuclide}
        $administration.RadionuclideTotalDose: {field: administration.activity, unit: Bq}
        PatientWeight: {copy: "(7053,xx18)[Philips PET Private Group]", when: {not: {of: PatientWeight, exists: true}}}
        OperatorsName: {remove: true}

A target path is a path of standard keywords; ``$administration.Keyword`` stands for that element in each item of ``for_each``. What a
field says is never what another rule wrote: fields are read from the object as it was received.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from pydicom.datadict import keyword_for_tag

from gateway.dicom.paths import Path, Step, parse_path, vr_of
from gateway.dicom.values import Invalid
from gateway.dicom.writing import check
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.conversion import Kind
from gateway.mapping.dicom_rules import IDENTITY, Action, CopyElement, DicomRules, ElementRule, Remove, SetField, SetText
from gateway.mapping.dicom_targets import shown, wrong_action, wrong_target
from gateway.mapping.field_names import field_hint
from gateway.mapping.files import Effective, Piece
from gateway.mapping.path_words import path_problems
from gateway.mapping.reads import SourceCompiler
from gateway.nuclear import units

_ACTIONS = ("value", "copy", "field", "remove")
_KEYS = (*_ACTIONS, "unit", "when")
_SETTINGS = {"charset": "utf-8", "identity": "effective"}
_SECTION_KEYS = (*_SETTINGS, "elements")
_REPEATED = "administration"


def compile_dicom(effective: Effective, sources: SourceCompiler, complaints: list[Complaint]) -> DicomRules:
    """The effective section of one mapping; after any complaint the result must not be used."""
    pieces = effective.dicom
    compiler = _Compiler(effective, sources, complaints)
    elements = [
        rule
        for key, piece in pieces.items()
        if key.startswith("elements.")
        if (rule := compiler.element(key.partition(".")[2], piece))
    ]
    for key, piece in pieces.items():
        if not key.startswith("elements."):
            complaints += _wrong_setting(key, piece)
    content = {key: piece.node for key, piece in sorted(pieces.items())}
    text = json.dumps([content, {name: piece.node for name, piece in effective.let.items()}], sort_keys=True, default=str)
    return DicomRules(
        utf8=_is_set(pieces, "charset"),
        identity=_is_set(pieces, "identity"),
        elements=tuple(elements),
        version=hashlib.sha256(text.encode()).hexdigest()[:12] if content else "",
    )


def _is_set(pieces: Mapping[str, Piece], key: str) -> bool:
    return key in pieces and pieces[key].node == _SETTINGS[key]


def _wrong_setting(key: str, piece: Piece) -> Iterable[Complaint]:
    if key not in _SECTION_KEYS:
        yield piece.origin.complain(f"unknown key '{key}'{did_you_mean(key, _SECTION_KEYS)}; known: {', '.join(_SECTION_KEYS)}")
    elif key == "elements":
        yield piece.origin.complain("'elements' is a mapping of target paths")
    elif piece.node != _SETTINGS[key]:
        yield piece.origin.complain(f"'{key}' can only be '{_SETTINGS[key]}', not '{piece.node}'")


class _Compiler:
    """Compiles the elements of one mapping under its ``let`` and ``for_each``."""

    def __init__(self, effective: Effective, sources: SourceCompiler, complaints: list[Complaint]) -> None:
        self._effective = effective
        self._sources = sources
        self._complaints = complaints
        self._written: set[tuple[bool, tuple[Step, ...]]] = set()

    def element(self, text: str, piece: Piece) -> ElementRule | None:
        before = len(self._complaints)
        target, per_item = self._target(text, piece)
        self._complaints += self._key_problems(piece)
        if not isinstance(piece.node, dict):
            return None
        piece = Piece(*piece.origin.as_meant(piece.node, _KEYS))
        action = self._action(piece, target, per_item)
        # What a rule may read is what a field may read that stands in the same place.
        name, spec = _reader(per_item), piece.node
        when = self._sources.condition(name, spec["when"], piece.origin, "when") if "when" in spec else None
        if target is None or action is None or len(self._complaints) > before:
            return None
        return ElementRule(target=target, action=action, per_item=per_item, where=_where(piece), when=when)

    def _complain(self, piece: Piece, text: str, *below: str) -> None:
        self._complaints.append(piece.origin.complain(text, *below))

    def _target(self, text: str, piece: Piece) -> tuple[Path | None, bool]:
        per_item = text.startswith(f"${_REPEATED}.")
        if per_item and not isinstance(getattr(self._effective.for_each.get(_REPEATED), "node", None), str):
            if not self._effective.for_each and not self._effective.lacks:
                self._complain(piece, f"'${_REPEATED}' needs 'for_each: {{{_REPEATED}: ...Sequence}}'")
            self._path(text.partition(".")[2], piece)
            return None, True
        around = self._around() if per_item else None
        path = self._path(text.partition(".")[2] if per_item else text, piece)
        if path is None:
            return None, per_item
        path = shown(path)
        actions = piece.node if isinstance(piece.node, dict) else ()
        wrong = (wrong_target(around) if around else "") or wrong_target(path) or wrong_action(path, actions)
        wrong = wrong or self._taken(path, per_item)
        if wrong:
            self._complain(piece, wrong)
        return None if wrong else path, per_item

    def _around(self) -> Path | None:
        """The sequence of ``for_each``; what is wrong with it is told there."""
        text = str(self._effective.for_each[_REPEATED].node)
        return None if text.startswith("$") or path_problems(text) else parse_path(text)

    def _taken(self, path: Path, per_item: bool) -> str:
        """Why another rule or setting has the target already; empty when it is free."""
        keyword = keyword_for_tag(path.steps[0].tag)
        if not per_item and len(path.steps) == 1 and keyword in IDENTITY and _is_set(self._effective.dicom, "identity"):
            return f"{keyword} is decided by 'identity: effective' already"
        if (per_item, path.steps) in self._written:
            return f"{path.text} is written by another rule already"
        self._written.add((per_item, path.steps))
        return ""

    def _path(self, text: str, piece: Piece, *below: str) -> Path | None:
        if text.startswith("$"):
            name, point, rest = text[1:].partition(".")
            if name not in self._effective.let:
                known = [*self._effective.let, _REPEATED]
                if not self._effective.lacks and not self._effective.taken.blames("let", name, piece.origin):
                    self._complain(piece, f"'${name}' is not set{did_you_mean(name, known)}", *below)
                self._path(rest, piece, *below)
                return None
            text = f"{self._effective.let[name].node}{point}{rest}"
        problems = path_problems(text)
        for problem in problems:
            self._complain(piece, problem, *below)
        return None if problems else parse_path(text)

    def _key_problems(self, piece: Piece) -> Iterable[Complaint]:
        spec = piece.node
        if not isinstance(spec, dict):
            yield piece.origin.complain(f"say what to do with it: one of {', '.join(_ACTIONS)}, as in {{value: text}}")
            return
        for key in spec:
            if key not in _KEYS:
                yield piece.origin.complain(f"unknown key '{key}'{did_you_mean(key, _KEYS)}", key)
        spec, _ = piece.origin.as_meant(spec, _KEYS)
        given = [key for key in _ACTIONS if key in spec]
        if len(given) != 1:
            yield piece.origin.complain(f"exactly one of {', '.join(_ACTIONS)} belongs here, not {' and '.join(given) or 'none'}")
        if "unit" in spec and "field" not in spec:
            yield piece.origin.complain("'unit' belongs to 'field'", "unit")
        elif "unit" in spec and units.dimension(str(spec["unit"])) is None:
            yield piece.origin.complain(f"unknown unit '{spec['unit']}'{did_you_mean(str(spec['unit']), units.KNOWN)}", "unit")

    def _action(self, piece: Piece, target: Path | None, per_item: bool) -> Action | None:
        """What becomes of the target; of a target that is wrong itself only the words are judged that do not depend on it."""
        spec = piece.node
        if "remove" in spec:
            if spec["remove"] is not True:
                self._complain(piece, "'remove' is 'true', or leave the line out", "remove")
            return Remove()
        if target is None:
            return self._read(piece, per_item)
        vr = vr_of(target.steps[-1].tag)
        is_items = vr == "SQ"
        if not is_items and target.steps[-1].index is not None:
            self._complain(piece, "an element is written as a whole: leave the value's index out")
            return None
        if "field" in spec:
            return self._read(piece, per_item)
        if is_items:
            self._complain(piece, f"{keyword_for_tag(target.steps[-1].tag)} is a sequence: only a 'field' with a concept fits in")
            return None
        if "copy" in spec:
            return self._read(piece, per_item)
        return self._text(piece, target.steps[-1].tag, vr) if "value" in spec else None

    def _read(self, piece: Piece, per_item: bool) -> Action | None:
        """An action that reads: a field, or another element."""
        spec = piece.node
        if "field" in spec:
            return self._field(piece, str(spec["field"]), str(spec.get("unit", "")), per_item)
        if "copy" in spec:
            return CopyElement(self._sources.alternatives(_reader(per_item), spec["copy"], Kind.ELEMENT, piece.origin))
        return None

    def _text(self, piece: Piece, tag: int, vr: str) -> Action | None:
        given = piece.node["value"]
        if isinstance(given, bool | list | dict) or given is None:
            self._complain(piece, "'value' is a text; several values are parted by a backslash", "value")
            return None
        try:
            check(tag, vr, str(given))
        except Invalid as error:
            self._complain(piece, f"'{given}' {error} ({vr})", "value")
            return None
        return SetText(str(given))

    def _field(self, piece: Piece, name: str, unit: str, per_item: bool) -> Action | None:
        known = self._effective.fields
        if name not in known:
            if not self._effective.lacks and not self._effective.taken.blames("fields", name, piece.origin, "field"):
                self._complain(piece, f"there is no field '{name}'{field_hint(name, known, known)}", "field")
            return None
        if per_item is not name.startswith(f"{_REPEATED}."):
            wanted = f"an '{_REPEATED}' field" if per_item else f"the target '${_REPEATED}....'"
            self._complain(piece, f"'{name}': one exists per item, so {wanted} belongs with it", "field")
            return None
        return SetField(name, unit)


def _reader(per_item: bool) -> str:
    return f"{_REPEATED}.dicom" if per_item else "instance.dicom"


def _where(piece: Piece) -> str:
    return piece.origin.document.where(piece.origin.place)
