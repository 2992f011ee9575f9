"""A file and its adapter -> what the table tells, in parts: one for each patient and administration that it speaks of.

Pure. A rule that cannot be followed costs its own value and leaves an issue; nothing is ever guessed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from gateway.dicom.values import Invalid
from gateway.errors import Rejected
from gateway.mapping.codes import LATERALITY_TABLE, NUCLIDES_TABLE, Codes, fold
from gateway.model import Issue, JsonObject, Severity
from gateway.nuclear.results import TELLING
from gateway.tables import numbers
from gateway.tables.cells import UNREADABLE, Row, Source
from gateway.tables.checks import failed_checks
from gateway.tables.lesions import WHOLE_ORGAN, judged_target
from gateway.tables.members import Context, Found, canonical, found_in, lists_in, put
from gateway.tables.rules import Adapter, Condition, ResultRule, ValueRule

_MOST_ISSUES = 200
#: Whether a reason names the cell that it is about.
_PLACED = re.compile(r"\((?:row|line|cell|\S+!).*\)\Z", re.DOTALL).search
#: More facts than this are no table of one department's dosimetry.
MOST_RESULTS = 20_000


@dataclass(slots=True)
class Part:
    """What a table tells of one patient and one administration. ``sources``: member -> place in the file."""

    patient: JsonObject
    administration: JsonObject
    document: JsonObject
    device: JsonObject = field(default_factory=dict)
    results: list[JsonObject] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Tells the parts of one file apart, whatever their order."""
        return canonical([self.patient, self.administration, self.device]).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """Everything that an adapter reads from one file."""

    adapter: Adapter
    parts: tuple[Part, ...]

    @property
    def issues(self) -> tuple[Issue, ...]:
        return tuple(issue for part in self.parts for issue in part.issues)


def understand(source: Source, adapter: Adapter, codes: Codes, site_zone: ZoneInfo) -> Understood:
    """Raises :class:`Rejected` (422) when nothing can be read at all."""
    name = adapter.read.timezone
    zone: dt.tzinfo = ZoneInfo(name) if name not in (None, "site") else site_zone
    reader = _Reader(adapter, Context(source=source, read=adapter.read, codes=codes, zone=zone))
    parts = reader.parts()
    if not any(part.results for part in parts):
        first = next((issue.field + " " + issue.reason for part in parts for issue in part.issues), "no row fits a result")
        raise Rejected(f"The adapter '{adapter.name}' finds no fact in this table: {first}.", status=UNREADABLE)
    return Understood(adapter=adapter, parts=tuple(parts))


@dataclass
class _Reader:
    adapter: Adapter
    context: Context
    _parts: dict[str, Part] = field(default_factory=dict)
    _count: int = 0

    def parts(self) -> list[Part]:
        sections = dict.fromkeys(result.section for result in self.adapter.results)
        for section in sections:
            for group in self._groups(section):
                rules = [rule for rule in self.adapter.results if rule.section == section]
                self._group(group, rules)
        return [self._parts[key] for key in sorted(self._parts)]

    def _groups(self, section: str) -> Iterable[list[Row]]:
        """Rows that tell of one thing, in the order of the file."""
        sheets = [sheet for sheet in self.context.source.sheets if not section or sheet.name == section]
        missing = [name for name in self.adapter.group_by for sheet in sheets if sheet.rows and name not in sheet.columns]
        if missing:
            raise Rejected(f"The table has no column '{missing[0]}', by which its rows are grouped.", status=UNREADABLE)
        grouped: dict[tuple[object, ...], list[Row]] = {}
        for sheet in sheets:
            for row in sheet.rows:
                if any(fits(condition, row) for condition in self.adapter.skip):
                    continue
                key: tuple[object, ...] = tuple(_text(row, name) for name in self.adapter.group_by)
                grouped.setdefault((sheet.name, *(key or (0 if self.adapter.is_one_group else row.number,))), []).append(row)
        return grouped.values()

    def _group(self, rows: Sequence[Row], rules: Sequence[ResultRule]) -> None:
        part = self._part(rows)
        made: dict[str, JsonObject] = {}
        for rule in rules:
            chosen = [row for row in rows if all(fits(condition, row) for condition in rule.when)]
            if chosen:
                result = self._result(rule, chosen, part)
                if result is not None:
                    made[rule.name] = result
        physical = self._physical_half_life_h(part)
        for check in failed_checks(self.adapter.checks, made, part.administration, physical):
            told = ", ".join(name for name in check.concerned if name in made)
            severity = Severity.ERROR if check.withholds else Severity.WARNING
            labels = [str(made[name]["label"]) for name in check.concerned if name in made]
            self._tell(part, Issue(field=labels[0] if labels else told, reason=f"{check.reason} ({told})", severity=severity))
            for name in check.concerned:
                if check.withholds:
                    made.pop(name, None)
                elif name in made:
                    made[name].setdefault("remarks", []).append(check.reason)
        part.results += [result for result in made.values() if any(result.get(name) for name in TELLING)]
        self._count += len(made)
        if self._count > MOST_RESULTS:
            raise Rejected(f"The table tells more than {MOST_RESULTS:,} facts.", status=413)

    def _part(self, rows: Sequence[Row]) -> Part:
        fresh = Part(patient={}, administration={}, document={})
        levels = (
            ("patient", self.adapter.patient, fresh.patient),
            ("administration", self.adapter.administration, fresh.administration),
            ("document", self.adapter.document, fresh.document),
            ("device", self.adapter.device, fresh.device),
        )
        for level, rules, tree in levels:
            for rule in rules:
                self._read(rule, rows, f"{level}.{rule.name}", tree, fresh)
        part = self._parts.setdefault(fresh.key, fresh)
        if part is not fresh:
            known = set(part.issues)
            part.issues += [issue for issue in fresh.issues if issue not in known]
            part.document = {**fresh.document, **part.document}
        return part

    def _result(self, rule: ResultRule, rows: Sequence[Row], part: Part) -> JsonObject | None:
        sheet = f"{rows[0].sheet}!" if rows[0].sheet else ""
        label = f"{rule.name}@{sheet}{rows[0].number}"
        result: JsonObject = {"kind": rule.kind, "label": label, "group": self._group_name(rows)}
        own = Part(patient={}, administration={}, document={})
        told = [self._read(member, rows, f"{label}.{member.name}", result, own, rule.kind) for member in rule.members]
        told.append(rule.points is None or self._points(rule, rows, label, result, own))
        tells = any(result.get(name) for name in TELLING)
        if not tells and not any(issue.field.rpartition(".")[2] in TELLING for issue in own.issues):
            return None  # its cells are empty: what else stands in the row is not its own
        self._target(rule, result, label, own)
        self._approve(result, label, own)
        for issue in own.issues:
            self._tell(part, issue)
        part.sources |= own.sources
        return result if tells and all(told) else None

    def _target(self, rule: ResultRule, result: JsonObject, label: str, part: Part) -> None:
        """An adapter may call all of its rows whole organs; a lesion is none, and a region that nobody knows may be anything."""
        said = next((member for member in rule.members if member.name == "target_definition"), None)
        if said is None or said.constant is None or result.get("target_definition") != WHOLE_ORGAN:
            return
        target, told = judged_target(result, self.context.codes)
        result["target_definition"] = target
        if target is None:
            del result["target_definition"]
        if told:
            place = part.sources.get(f"{label}.region", "")
            self._tell(part, Issue(field=f"{label}.region", reason=f"{told} ({place})", severity=Severity.WARNING))

    def _read(
        self, rule: ValueRule, rows: Sequence[Row], name: str, tree: JsonObject, part: Part, kind: str | None = None
    ) -> Found | bool:
        """Put a member into its tree. False when the whole result must not be told: its value or what it is about is in doubt."""
        try:
            found = found_in(rule, rows, self.context, kind)
        except Invalid as error:
            self._tell(part, Issue(field=name, reason=str(error)))
            return rule.name not in ("value", "region", "laterality", "statistic", "code", "intent", "use") and not rule.must
        if found is None:
            if rule.must:
                self._tell(part, Issue(field=name, reason="is missing"))
            return not rule.must
        for reason, severity in found.notes:
            self._tell(part, Issue(field=name, reason=f"{reason} ({found.place})", severity=severity))
        if not self._implied(rule, found, name, tree, part):
            return False
        put(tree, rule.name, found.value)
        if found.stated is not None and rule.name == "value":
            tree["stated"] = found.stated
        part.sources[name] = found.place
        return True

    def _implied(self, rule: ValueRule, found: Found, name: str, tree: JsonObject, part: Part) -> bool:
        """An organ that is one of a pair names its side, an agent its nuclide. A side that is told twice must be the same."""
        codes = self.context.codes
        for member, text in found.implied.items():
            if member == "laterality" and rule.name != "region":
                continue
            if member == "lesion":
                tree.setdefault("lesion", {}).setdefault("label", text)
                continue
            table = LATERALITY_TABLE if member == "laterality" else NUCLIDES_TABLE
            entry = codes.tables[table].by_name.get(text)
            concept = codes.concept(entry).as_json() if entry else {"text": text}
            tree.setdefault(member, concept)
            part.sources.setdefault(f"{name.rpartition('.')[0]}.{member}", found.place)
        if rule.name == "laterality" and tree.get("laterality", found.value) != found.value:
            self._tell(part, Issue(field=name, reason=f"contradicts the side that the name of the organ tells ({found.place})"))
            return False
        return True

    def _points(self, rule: ResultRule, rows: Sequence[Row], label: str, result: JsonObject, part: Part) -> bool:
        assert rule.points is not None  # noqa: S101
        points: list[JsonObject] = []
        try:
            for row in rows:
                points += self._points_of(rule, row)
        except Invalid as error:
            self._tell(part, Issue(field=f"{label}.points", reason=str(error)))
            return False
        whole = [point for point in points if "time" in point and len(point) > 1]
        times = [point["time"]["value"] for point in whole]
        if len(set(times)) != len({canonical(point) for point in whole}):
            self._tell(part, Issue(field=f"{label}.points", reason="has two different values at one time"))
            return False
        unique = {point["time"]["value"]: point for point in whole}
        if unique:
            result["points"] = [unique[time] for time in sorted(unique)]
            part.sources[f"{label}.points"] = (
                f"rows {rows[0].number} to {rows[-1].number}" if len(rows) > 1 else f"row {rows[0].number}"
            )
        return True

    def _points_of(self, rule: ResultRule, row: Row) -> list[JsonObject]:
        assert rule.points is not None  # noqa: S101
        members = rule.points.members
        if any(member.is_list for member in members):
            lists = {member.name: lists_in(member, row, self.context, rule.kind) for member in members}
            if len({len(found) for found in lists.values() if found}) > 1:
                raise Invalid(f"has lists of different lengths (row {row.number})")
            longest = max(map(len, lists.values()), default=0)
            return [{name: found[index].value for name, found in lists.items() if found} for index in range(longest)]
        point: JsonObject = {}
        for member in members:
            found = found_in(member, [row], self.context, rule.kind)
            if found is not None:
                put(point, member.name, found.value)
        return [point]

    def _approve(self, result: JsonObject, label: str, part: Part) -> None:
        """Approved counts only with a name of the site's list and a date."""
        approved = result.pop("approved", None)
        if not approved:
            return
        if approved.get("by") in self.adapter.status.approvers and approved.get("at"):
            result["approved"] = {**approved, "accepted": True}
            return
        why = "has no date" if approved.get("by") in self.adapter.status.approvers else "is by nobody on the list of approvers"
        place = part.sources.get(f"{label}.approved.by", "")
        reason = f"{why}: the fact stays preliminary{f' ({place})' if place else ''}"
        self._tell(part, Issue(field=f"{label}.approved", reason=reason, severity=Severity.INFORMATION))

    def _group_name(self, rows: Sequence[Row]) -> str:
        return f"{rows[0].sheet}-{rows[0].number}" if rows[0].sheet else f"row-{rows[0].number}"

    def _physical_half_life_h(self, part: Part) -> object:
        concept = part.administration.get("radionuclide") or {}
        nuclide = self.context.codes.nuclides.named(str(concept.get("text")))
        return nuclide.half_life_s / 3600 if nuclide and nuclide.half_life_s else None

    @staticmethod
    def _tell(part: Part, issue: Issue) -> None:
        """Once: a cell that several results read is named by the first of them."""
        alike = [one for one in part.issues if one.reason == issue.reason and one.severity == issue.severity]
        member = issue.field.rpartition(".")[2]
        again = any(one.field == issue.field or (one.field.rpartition(".")[2] == member and _PLACED(one.reason)) for one in alike)
        if not again and len(part.issues) < _MOST_ISSUES:
            part.issues.append(issue)


def fits(condition: Condition, row: Row) -> bool:
    """Whether a row is one that a condition speaks of. An absent cell fits only ``exists: false`` and ``not_in``."""
    text = _text(row, condition.column)
    if condition.exists is not None:
        return bool(text) == condition.exists
    if condition.words is not None:
        return bool(text) and fold(text) in condition.words
    if condition.without is not None:
        return fold(text) not in condition.without
    return condition.pattern is not None and bool(text) and condition.pattern.fits(text)


def _text(row: Row, name: str) -> str:
    cell = row.cell(name)
    return "" if cell is None or numbers.is_absent(cell) else cell.text.strip()
