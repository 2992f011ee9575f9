"""What a mapping file writes behind ``from`` -> sources, every word checked.

::

    from: RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose
    from: {sr: [113502 DCM, 113507 DCM], relationship: CONTAINS, template: "10022"}
    from: {frame: "FrameContentSequence[0].FrameAcquisitionDuration"}      # functional groups: shared, else of the frames
    from: {meta: SourceApplicationEntityTitle}                             # the file header
    from: {arrival: calling_ae}                                            # how the object came
    from: [$tracer.RadiopharmaceuticalStartDateTime, {path: "(0009,xx3b)[GEMS_PETD_01]", when: {of: Manufacturer, matches: "ge.*"}}]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.dicom.paths import Path, is_sequence, parse_path
from gateway.dicom.sr import SrPath
from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, as_meant, did_you_mean
from gateway.mapping.conditions import Condition, compile_condition
from gateway.mapping.conversion import Kind
from gateway.mapping.field_names import field_hint
from gateway.mapping.files import Effective, Origin, Piece
from gateway.mapping.path_words import path_problems
from gateway.mapping.sources import (
    ARRIVAL,
    ITEM,
    REPEATED,
    ArrivalFact,
    FieldRef,
    FramePath,
    Guarded,
    ItemPath,
    MetaPath,
    Plain,
    RootPath,
    Source,
)
from gateway.mapping.sr_paths import sr_path

LEVELS = ("patient", "study", "series", "device", "document", "instance", "administration")
#: How a source that is no plain path is told: by the key that it has.
FORMS = ("path", "sr", "frame", "meta", "arrival")
#: Alternatives of one part: more is no fallback list any more.
MOST_ALTERNATIVES = 32
_META_GROUP = 0x0002
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


#: In the ``fields`` of a ``for_each``: the names of the fields above in the same item. Elsewhere ``None``.
Siblings = frozenset[str] | None


def is_source(node: Any) -> bool:
    """True for a mapping that is one source, not the parts of a converter."""
    return isinstance(node, dict) and any(form in node for form in FORMS)


class SourceCompiler:
    """Compiles the sources of one mapping under its ``let``; ``repeated`` is what its ``for_each`` names."""

    def __init__(self, effective: Effective, codes: Codes, complaints: list[Complaint]) -> None:
        self._effective = effective
        self._codes = codes
        self._complaints = complaints
        self._let = {name: str(piece.node) for name, piece in effective.let.items()}
        self._faulty_lets = {name for name, piece in effective.let.items() if self._is_faulty(piece)}
        self.repeated = self._repeated()

    def _is_faulty(self, piece: Piece) -> bool:
        """What is wrong with a short name is told where it is set, not where it is used."""
        problems = path_problems(str(piece.node))
        self._complaints += [piece.origin.complain(problem) for problem in problems]
        return bool(problems)

    def _repeated(self) -> Path | SrPath | None:
        found: Path | SrPath | None = None
        for level, piece in self._effective.for_each.items():
            if level != REPEATED:
                self._complaints.append(piece.origin.complain(f"only '{REPEATED}' can be repeated, not '{level}'"))
            path: Path | SrPath | None
            if isinstance(piece.node, dict) and "sr" in piece.node:
                path = sr_path(piece.node, self._codes, piece.origin, self._complaints)
            else:
                path = self._path(str(piece.node), piece.origin)
                if path and not is_sequence(path):
                    self._complaints.append(piece.origin.complain(f"'{piece.node}' is not a sequence"))
            if level == REPEATED:
                found = path
        return found

    def alternatives(self, name: str, node: Any, kind: Kind, origin: Origin, inside: Siblings = None) -> tuple[Source, ...]:
        """One source, or a list of them in the order in which they are tried. ``inside`` where ``$item`` may be read."""
        nodes = node if isinstance(node, list) else [node]
        if not 1 <= len(nodes) <= MOST_ALTERNATIVES:
            self._complaints.append(origin.complain(f"1 to {MOST_ALTERNATIVES} alternatives can stand here", "from"))
            return ()
        # Of a list each alternative is told by its own line.
        places = [Origin(origin.document, (*origin.place, index)) for index in range(len(nodes))] if nodes is node else [origin]
        sources = [self.source(name, one, kind, place, inside) for one, place in zip(nodes, places, strict=True)]
        return tuple(source for source in sources if source)

    def source(self, name: str, node: Any, kind: Kind, origin: Origin, inside: Siblings = None) -> Source | None:
        """One source; after a complaint ``None``. ``name`` is the field that reads it."""
        if not isinstance(node, dict):
            return self._text(name, node, kind, origin, inside)
        forms = [form for form in FORMS if form in node]
        if not forms and (meant := as_meant(node, FORMS)):
            form, written = next(iter(meant.items()))
            self._wrong(f"unknown key '{written}' (did you mean '{form}'?)", origin)
            node = {form if key == written else key: value for key, value in node.items()}
            forms = [form]
        elif len(forms) != 1:
            self._wrong(f"a source is a path, or has one of {', '.join(FORMS)}", origin)
        made: Plain | None = None
        for form in forms:
            others = ("when", *(other for other in forms if other != form))
            spec = {key: value for key, value in node.items() if key not in others}
            made = self._form(name, form, spec, kind, origin, inside)
        if "when" not in node:
            return made
        condition = self.condition(name, node["when"], origin, "when", inside=inside)
        return Guarded(made, condition) if made and condition else None

    def condition(self, name: str, node: Any, origin: Origin, *below: str | int, inside: Siblings = None) -> Condition | None:
        """A ``when``, for the field ``name``; after a complaint ``None``."""
        condition, complaints = compile_condition(node, lambda of, at: self._seen(name, of, at, inside), origin, *below)
        self._complaints += complaints
        return condition

    def _seen(self, name: str, node: Any, origin: Origin, inside: Siblings) -> Source | None:
        """What a condition looks at: the name of a field, or any source."""
        is_field = isinstance(node, str) and (self.is_field(node) or self._is_sibling(node))
        return self.source(name, node, Kind.FIELD if is_field else Kind.ELEMENT, origin, inside)

    def is_field(self, text: str) -> bool:
        """True for what is written like the name of a field."""
        return text.partition(".")[0] in LEVELS

    def _is_sibling(self, text: str) -> bool:
        """``$item.x`` in lower case is a field of the item, ``$item.Keyword`` an element."""
        rest = text.removeprefix(f"${ITEM}.")
        return rest != text and rest[:1].islower()

    def _form(self, name: str, form: str, node: dict[str, Any], kind: Kind, origin: Origin, inside: Siblings) -> Plain | None:
        if form == "path":
            self._only(node, ("path",), origin)
            return self._text(name, node["path"], kind, origin.below("path"), inside)
        if kind is Kind.FIELD:
            self._wrong("here belongs the name of a field", origin)
            return None
        if form == "sr":
            return self._sr(name, node, origin, inside)
        self._only(node, (form,), origin)
        text = node[form]
        if form == "arrival":
            return self._arrival(name, text, origin)
        return self._frame(text, origin) if form == "frame" else self._meta(text, origin)

    def _sr(self, name: str, node: dict[str, Any], origin: Origin, inside: Siblings) -> Plain | None:
        """``{sr: [113502 DCM, 113507 DCM]}``; inside an administration ``{sr: [$administration, 113507 DCM]}``."""
        steps = node.get("sr")
        first = steps[0] if isinstance(steps, list) and steps else ""
        if first == f"${REPEATED}":
            self._in_administration(name, origin)
            around = self.repeated.text if self.repeated else REPEATED
        elif first == f"${ITEM}":
            self._in_items(origin, inside)
            around = ITEM
        else:
            path = sr_path(node, self._codes, origin, self._complaints)
            return RootPath(path) if path else None
        path = sr_path(node, self._codes, origin, self._complaints, inside=around)
        return ItemPath(path, first[1:]) if path else None

    def _frame(self, text: Any, origin: Origin) -> FramePath | None:
        path = self._path(str(text), origin)
        if path is None:
            return None
        if path.text.startswith(_GROUPS):
            self._wrong("'frame' begins inside the functional groups: leave their own sequence out", origin)
            return None
        return FramePath(path)

    def _meta(self, text: Any, origin: Origin) -> MetaPath | None:
        path = self._path(str(text), origin)
        if path is None:
            return None
        if len(path.steps) > 1 or path.steps[0].tag >> 16 != _META_GROUP:
            self._wrong(f"'{text}' is not an element of the file header (group 0002)", origin)
            return None
        return MetaPath(path)

    def _arrival(self, name: str, word: Any, origin: Origin) -> ArrivalFact | None:
        if word not in ARRIVAL:
            hint = did_you_mean(str(word), ARRIVAL)
            self._wrong(f"'arrival' is one of {', '.join(ARRIVAL)}, not '{word}'{hint}", origin)
            return None
        if word == "received_at" and not name.startswith("instance."):
            self._wrong("'received_at' differs from instance to instance: only 'instance' fields can read it", origin)
            return None
        return ArrivalFact(word)

    def _text(self, name: str, text: Any, kind: Kind, origin: Origin, inside: Siblings) -> Plain | None:
        if not isinstance(text, str) or not text:
            self._wrong("a source is the path of an element, or the name of a field", origin)
            return None
        if kind is Kind.FIELD and self._is_sibling(text):
            return self._sibling(text, origin, inside)
        is_field = self.is_field(text)
        if is_field is not (kind is Kind.FIELD):
            wanted = "the name of a field" if kind is Kind.FIELD else "the path of an element"
            self._wrong(f"'{text}': here belongs {wanted}", origin)
            return None
        if is_field:
            return self._field_ref(name, text, origin)
        for item in (REPEATED, ITEM):
            if text.startswith(f"${item}."):
                fits = self._in_administration(name, origin) if item == REPEATED else self._in_items(origin, inside)
                path = self._path(text.partition(".")[2], origin)
                return ItemPath(path, item) if path and fits else None
        path = self._path(text, origin, inside)
        return RootPath(path) if path else None

    def _in_administration(self, name: str, origin: Origin) -> bool:
        if name.startswith(f"{REPEATED}."):
            return True
        self._wrong(f"only '{REPEATED}' fields can read ${REPEATED}", origin)
        return False

    def _in_items(self, origin: Origin, inside: Siblings) -> bool:
        if inside is not None:
            return True
        self._wrong(f"${ITEM} stands only in the 'fields' of a field with 'for_each'", origin)
        return False

    def _sibling(self, text: str, origin: Origin, inside: Siblings) -> FieldRef | None:
        if not self._in_items(origin, inside):
            return None
        name = text.removeprefix(f"${ITEM}.")
        if inside is None or name not in inside:
            self._wrong(f"no field '{name}' stands above in this item{did_you_mean(name, inside or ())}", origin)
            return None
        return FieldRef(text)

    def _field_ref(self, name: str, text: str, origin: Origin) -> FieldRef | None:
        known = self._effective.fields
        if text not in known:
            if not self._effective.lacks and not self._effective.taken.blames("fields", text, origin):
                self._wrong(f"there is no field '{text}'{field_hint(text, known, known)}", origin)
            return None
        if text.startswith(f"{REPEATED}.") and not name.startswith(f"{REPEATED}."):
            self._wrong(f"'{text}' exists once per item: '{name}' cannot read it", origin)
            return None
        if text.startswith("instance.") and not name.startswith("instance."):
            self._wrong(f"'{text}' differs from instance to instance: '{name}' cannot read it", origin)
            return None
        return FieldRef(text)

    def _path(self, text: str, origin: Origin, inside: Siblings = None) -> Path | None:
        if text.startswith("$"):
            variable, point, rest = text[1:].partition(".")
            known = [*self._let, REPEATED, *([ITEM] if inside is not None else [])]
            missing = variable not in self._let and not self._effective.lacks
            if missing and not self._effective.taken.blames("let", variable, origin):
                self._wrong(f"'${variable}' is not set{did_you_mean(variable, known)}", origin)
            if variable not in self._let or variable in self._faulty_lets:
                for problem in path_problems(rest) if rest and not self._is_sibling(f"${ITEM}.{rest}") else ():
                    self._wrong(problem, origin)
                return None
            text = f"{self._let[variable]}{point}{rest}"
        problems = path_problems(text)
        for problem in problems:
            self._wrong(problem, origin)
        return None if problems else parse_path(text)

    def _only(self, node: dict[str, Any], known: Sequence[str], origin: Origin) -> None:
        for key in node:
            if key not in known:
                self._wrong(f"unknown key '{key}'{did_you_mean(key, (*known, 'when'))}", origin)

    def _wrong(self, text: str, origin: Origin) -> None:
        self._complaints.append(origin.complain(text, "from"))
