"""The ``fields`` of a mapping file -> rules: every word checked against converters, keywords, units, code tables and other fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydicom._dicom_dict import DicomDictionary

from gateway.dicom.paths import Path, PathError, is_sequence, parse_path
from gateway.dicom.sr import SrPath
from gateway.mapping.codes import Codes
from gateway.mapping.complaints import Complaint, did_you_mean
from gateway.mapping.conversion import Converter, Kind, Options
from gateway.mapping.files import Effective, Origin, Piece
from gateway.mapping.registry import CONVERTERS
from gateway.mapping.rules import LEVELS, REPEATED, FieldRef, FieldRule, ItemPath, Need, RootPath, Source
from gateway.mapping.sr_paths import sr_path
from gateway.nuclear import units

_FIELD_KEYS = ("from", "as", "codes", "unit", "need")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class FieldCompiler:
    """Compiles the ``fields`` of one mapping under its ``let`` and ``for_each``."""

    def __init__(self, effective: Effective, codes: Codes, complaints: list[Complaint]) -> None:
        self._effective = effective
        self._codes = codes
        self._complaints = complaints
        self._let = {name: str(piece.node) for name, piece in effective.let.items()}
        self.repeated = self._repeated()

    def fields(self) -> list[FieldRule]:
        compiled = [self._field(name, piece) for name, piece in self._effective.fields.items()]
        return [rule for rule in compiled if rule]

    def _repeated(self) -> Path | SrPath | None:
        for level, piece in self._effective.for_each.items():
            if level != REPEATED:
                self._complaints.append(piece.origin.complain(f"only '{REPEATED}' can be repeated, not '{level}'"))
                continue
            if isinstance(piece.node, dict):
                return sr_path(piece.node, self._codes, piece.origin, self._complaints)
            path = self._path(str(piece.node), piece.origin)
            if path and not is_sequence(path):
                self._complaints.append(piece.origin.complain(f"'{piece.node}' is not a sequence"))
            return path
        return None

    def _field(self, name: str, piece: Piece) -> FieldRule | None:
        problems = list(self._field_problems(name, piece))
        self._complaints += problems
        spec = piece.node
        if problems:
            return None
        converter = CONVERTERS[spec["as"]]
        before = len(self._complaints)
        sources = self._sources(name, spec["from"], converter, piece.origin)
        options = self._options(spec, converter, sources, piece.origin)
        if len(self._complaints) > before:
            return None
        return FieldRule(name=name, converter=converter, sources=sources, options=options, need=Need(spec.get("need", "may")))

    def _field_problems(self, name: str, piece: Piece) -> Iterable[Complaint]:
        level, *rest = name.split(".")
        if level not in LEVELS:
            yield piece.origin.complain(f"'{level}' is not a level{did_you_mean(level, LEVELS)}; levels: {', '.join(LEVELS)}")
        if not rest or not all(_NAME.fullmatch(word) for word in rest):
            yield piece.origin.complain(f"'{name}' is not a field name: lower-case words with points, as in series.pet.units")
        if level == REPEATED and self.repeated is None:
            yield piece.origin.complain(f"'{REPEATED}' fields need 'for_each: {{{REPEATED}: ...Sequence}}'")
        yield from self._spec_problems(name, piece)

    def _spec_problems(self, name: str, piece: Piece) -> Iterable[Complaint]:
        spec = piece.node
        if not isinstance(spec, dict):
            yield piece.origin.complain("a field is a mapping with 'from' and 'as'")
            return
        for key in spec:
            if key not in _FIELD_KEYS:
                yield piece.origin.complain(f"unknown key '{key}'{did_you_mean(key, _FIELD_KEYS)}", key)
        for key in ("from", "as"):
            if key not in spec:
                yield piece.origin.complain(f"'{name}' has no '{key}'")
        if "as" in spec and spec["as"] not in CONVERTERS:
            yield piece.origin.complain(f"unknown converter '{spec['as']}'{did_you_mean(str(spec['as']), CONVERTERS)}", "as")
        if spec.get("need", "may") not in list(Need):
            yield piece.origin.complain(f"'need' is one of {', '.join(Need)}, not '{spec['need']}'", "need")

    def _sources(self, name: str, node: Any, converter: Converter, origin: Origin) -> dict[str, tuple[Source, ...]]:
        given = node if isinstance(node, dict) and "sr" not in node else {"value": node}
        for part in given:
            if part not in converter.parts:
                known = ", ".join(converter.parts)
                text = f"'{converter.name}' has no part '{part}'{did_you_mean(part, converter.parts)}; its parts: {known}"
                self._complaints.append(origin.complain(text, "from", part))
        for part, wanted in converter.parts.items():
            if wanted.required and part not in given:
                self._complaints.append(origin.complain(f"'{converter.name}' needs the part '{part}'", "from"))
        return {
            part: self._alternatives(name, alternatives, converter.parts[part].kind, origin)
            for part, alternatives in given.items()
            if part in converter.parts
        }

    def _alternatives(self, name: str, node: Any, kind: Kind, origin: Origin) -> tuple[Source, ...]:
        texts = node if isinstance(node, list) else [node]
        sources = [self._source(name, text, kind, origin) for text in texts]
        return tuple(source for source in sources if source)

    def _sr_source(self, name: str, node: dict[str, Any], kind: Kind, origin: Origin) -> Source | None:
        """``{sr: [113502 DCM, 113507 DCM]}``; inside an administration ``{sr: [$administration, 113507 DCM]}``."""
        if kind is Kind.FIELD:
            self._complaints.append(origin.complain("here belongs the name of a field", "from"))
            return None
        steps = node.get("sr")
        relative = isinstance(steps, list) and steps[:1] == [f"${REPEATED}"]
        if relative and not name.startswith(f"{REPEATED}."):
            self._complaints.append(origin.complain(f"only '{REPEATED}' fields can read ${REPEATED}", "from"))
            return None
        inside = self.repeated.text if relative and self.repeated else None
        path = sr_path(node, self._codes, origin, self._complaints, inside=inside)
        if path is None:
            return None
        return ItemPath(path) if relative else RootPath(path)

    def _source(self, name: str, text: Any, kind: Kind, origin: Origin) -> Source | None:
        if isinstance(text, dict) and "sr" in text:
            return self._sr_source(name, text, kind, origin)
        if not isinstance(text, str) or not text:
            self._complaints.append(origin.complain("a source is the path of an element, or the name of a field", "from"))
            return None
        is_field = text.partition(".")[0] in LEVELS
        if is_field is not (kind is Kind.FIELD):
            wanted = "the name of a field" if kind is Kind.FIELD else "the path of an element"
            self._complaints.append(origin.complain(f"'{text}': here belongs {wanted}", "from"))
            return None
        if is_field:
            return self._field_ref(name, text, origin)
        if text.startswith(f"${REPEATED}."):
            if not name.startswith(f"{REPEATED}."):
                self._complaints.append(origin.complain(f"only '{REPEATED}' fields can read ${REPEATED}", "from"))
                return None
            path = self._path(text.partition(".")[2], origin)
            return ItemPath(path) if path else None
        path = self._path(text, origin)
        return RootPath(path) if path else None

    def _field_ref(self, name: str, text: str, origin: Origin) -> FieldRef | None:
        known = self._effective.fields
        if text not in known:
            self._complaints.append(origin.complain(f"there is no field '{text}'{did_you_mean(text, known)}", "from"))
            return None
        if text.startswith(f"{REPEATED}.") and not name.startswith(f"{REPEATED}."):
            self._complaints.append(origin.complain(f"'{text}' exists once per item: '{name}' cannot read it", "from"))
            return None
        return FieldRef(text)

    def _path(self, text: str, origin: Origin) -> Path | None:
        if text.startswith("$"):
            variable, point, rest = text[1:].partition(".")
            if variable not in self._let:
                known = [*self._let, REPEATED]
                self._complaints.append(origin.complain(f"'${variable}' is not set{did_you_mean(variable, known)}", "from"))
                return None
            text = f"{self._let[variable]}{point}{rest}"
        try:
            return parse_path(text)
        except PathError as error:
            hint = did_you_mean(error.keyword, keywords()) if error.keyword else ""
            self._complaints.append(origin.complain(f"{error}{hint}", "from"))
            return None

    def _options(
        self, spec: dict[str, Any], converter: Converter, sources: dict[str, tuple[Source, ...]], origin: Origin
    ) -> Options:
        table, unit = spec.get("codes"), spec.get("unit")
        self._complaints += _options_problems(spec, converter, self._codes, sources, origin)
        unit = unit if isinstance(unit, dict) else {}
        return Options(codes=self._codes, table=table, unit_in=unit.get("in"), unit_out=unit.get("out"))


def _options_problems(
    spec: dict[str, Any], converter: Converter, codes: Codes, sources: dict[str, tuple[Source, ...]], origin: Origin
) -> Iterable[Complaint]:
    table = spec.get("codes")
    if converter.takes_codes and table is None:
        yield origin.complain(f"'{converter.name}' needs 'codes'")
    if converter.takes_codes is False and table is not None:
        yield origin.complain(f"'{converter.name}' takes no 'codes'", "codes")
    if table is not None and table not in codes.tables:
        yield origin.complain(f"there is no code table '{table}'{did_you_mean(str(table), codes.tables)}", "codes")
    for needed in converter.reads_tables:
        if needed not in codes.tables:
            yield origin.complain(f"'{converter.name}' needs the code table codes/{needed}.yaml")
    yield from _unit_problems(spec.get("unit"), converter, _carry_units(sources.get("value", ())), origin)


def _carry_units(sources: tuple[Source, ...]) -> bool:
    """True when every source is a report's content item: its numbers bring their own unit."""
    paths = [source.path for source in sources if not isinstance(source, FieldRef)]
    return bool(paths) and all(isinstance(path, SrPath) and path.attribute is None for path in paths)


def _unit_problems(unit: Any, converter: Converter, carried: bool, origin: Origin) -> Iterable[Complaint]:
    if not converter.takes_unit:
        if unit is not None:
            yield origin.complain(f"'{converter.name}' takes no 'unit'", "unit")
        return
    if carried and (not isinstance(unit, dict) or set(unit) != {"out"}):
        yield origin.complain(f"'{converter.name}' needs 'unit: {{out: ...}}': a report's number brings its unit along", "unit")
        return
    if not carried and (not isinstance(unit, dict) or set(unit) != {"in", "out"}):
        yield origin.complain(f"'{converter.name}' needs 'unit: {{in: ..., out: ...}}'", "unit")
        return
    for key, name in unit.items():
        if units.dimension(str(name)) is None:
            yield origin.complain(f"unknown unit '{name}'{did_you_mean(str(name), units.KNOWN)}", "unit", key)
    if not carried and units.dimension(str(unit["in"])) != units.dimension(str(unit["out"])):
        yield origin.complain(f"{unit['in']} cannot become {unit['out']}", "unit")


def keywords() -> list[str]:
    """Every DICOM keyword, to suggest the right one."""
    return [entry[4] for entry in DicomDictionary.values() if entry[4]]
