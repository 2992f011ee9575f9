"""What a change of mappings would change: the same headers read by two sets of mappings, resource by resource, element by element.

Pure: nothing is written, no clock is read. Used by ``isobridge mappings diff`` and by the deployment of mappings.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.dicom.reading import Header, read_header
from gateway.errors import Misconfigured, Quarantined
from gateway.fhir.identity import KEY_BYTES, Identity
from gateway.fhir.render import Renderer
from gateway.gather.patient import PatientKeys
from gateway.gather.suv import is_of_missing_images
from gateway.mapping.language import Mappings, load
from gateway.mapping.traced import leaves
from gateway.model import Issue, Json, JsonObject, Record
from gateway.normalise.coerce import Change, coerce
from gateway.normalise.record import SiteContext
from gateway.r4.bundles import resources_of
from gateway.r4.canonical import encode
from gateway.understanding import Understanding
from gateway.workbench.convert import Problem, bundles_of
from gateway.workbench.folders import files_in
from gateway.workbench.plain import plain

#: Both sides are rendered as of one instant: what is compared does not depend on it.
_RECORDED = "2000-01-01T00:00:00Z"


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

    def as_json(self) -> JsonObject:
        return {"what": str(self.what), "subject": self.subject, "element": self.element, "old": self.old, "new": self.new}


def mapping_diff(
    old: Mappings, new: Mappings, headers: Iterable[tuple[str, Header]], *, site: Understanding | None = None
) -> list[Difference]:
    """Everything that would come out otherwise, in a fixed order; empty when nothing changes.

    ``headers`` come with a name to tell them by, e.g. a file name or a SOP Instance UID; each is used once and let go. ``site`` lends its
    zone, patient keys, identity and identity policy; without one they are invented, and ids mean nothing.
    """
    lent = site or invented_site(old)
    sides = (_Side(lent.with_mappings(old)), _Side(lent.with_mappings(new)))
    for name, header in headers:
        for side in sides:
            side.read(name, header)
    before, after = (side.outcome() for side in sides)
    return [*resource_differences(before.resources, after.resources), *_of_headers(before, after)]


def invented_site(mappings: Mappings) -> Understanding:
    """A site of which only the mappings count."""
    return Understanding(
        mappings=mappings,
        site=SiteContext(timezone=ZoneInfo("Europe/Brussels")),
        patients=PatientKeys(system="urn:isobridge:patient-id"),
        renderer=Renderer(mappings, Identity(bytes(KEY_BYTES)), accession_system="urn:isobridge:accession"),
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    resources: dict[str, JsonObject]
    issues: frozenset[tuple[str, Issue]]
    quarantined: dict[str, str]  #: name of the header -> reason


@dataclass
class _Side:
    """What one set of mappings makes of the headers."""

    understanding: Understanding
    records: dict[str, tuple[str, Record]] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, header: Header) -> None:
        try:
            record = self.understanding.understand(header)
        except Quarantined as error:
            self.quarantined[name] = error.reason
            return
        self.records.setdefault(str(record.instance.get("uid", name)), (name, record))

    def outcome(self) -> _Outcome:
        names, records = [name for name, _ in self.records.values()], [record for _, record in self.records.values()]
        problems: list[Problem] = []
        bundles = list(bundles_of(records, [Path(name) for name in names], self.understanding, _RECORDED, problems))
        # A Provenance only says that we wrote the rest.
        made = [_of_a_sample(item) for bundle in bundles for item in resources_of(bundle) if item["resourceType"] != "Provenance"]
        issues = {(name, issue) for name, record in self.records.values() for issue in (*record.shared.issues, *record.issues)}
        told = {
            (str(problem.path), Issue(field=problem.field, reason=problem.reason, severity=problem.severity))
            for problem in problems
            if not problem.set_aside
        }
        held = {str(problem.path): problem.reason for problem in problems if problem.set_aside}
        return _Outcome(
            {f"{item['resourceType']}/{item['id']}": item for item in made}, frozenset(issues | told), self.quarantined | held
        )


def resource_differences(before: dict[str, JsonObject], after: dict[str, JsonObject]) -> Iterator[Difference]:
    """Resources by reference, against what they become. One that only gets another id is met again under it."""
    renamed = _renamed(before, after)
    for subject in dict.fromkeys((*before, *after)):
        if subject in renamed.values():
            continue
        old, new = before.get(subject), after.get(renamed.get(subject, subject))
        kind = subject.partition("/")[0]
        if old is None or new is None:
            yield Difference(what=What.RESOURCE, subject=subject, element=kind, old=old, new=new)
        elif encode(old) != encode(new):
            yield from element_differences(subject, kind, old, new)


def _of_a_sample(resource: JsonObject) -> JsonObject:
    """Without the remark that images are missing: what is compared is a choice of the headers, so it would be untrue."""
    notes = resource.get("note")
    if not isinstance(notes, list):
        return resource
    kept = [note for note in notes if not is_of_missing_images(str(note.get("text")))]
    return {key: value for key, value in (resource | {"note": kept}).items() if key != "note" or kept}


def _renamed(before: dict[str, JsonObject], after: dict[str, JsonObject]) -> dict[str, str]:
    """Resources that a change gives another id, old -> new: same type, same patient, and most of what they say is the same.

    The first name of a fact may hold its activity or start (``gather.readings``), so a change of these is a new id.
    """
    lost = [subject for subject in before if subject not in after]
    fresh = {subject: _leaves(resource) for subject, resource in after.items() if subject not in before}
    found: dict[str, str] = {}
    for subject in lost:
        told = _leaves(before[subject])
        kind, patient = before[subject]["resourceType"], before[subject].get("subject")
        alike = [
            (len(told & other), name)
            for name, other in fresh.items()
            if (after[name]["resourceType"], after[name].get("subject")) == (kind, patient) and 2 * len(told & other) > len(told)
        ]
        if alike:
            found[subject] = max(alike)[1]
            del fresh[found[subject]]
    return found


def _leaves(resource: JsonObject) -> set[str]:
    return {f"{place}={value}" for place, value in leaves(resource) if place != ("id",)}


def element_differences(subject: str, element: str, old: Json, new: Json) -> Iterator[Difference]:
    """The smallest parts of two JSON trees that differ. Entries of lists meet by their UID, url or system, else by their place."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from element_differences(subject, f"{element}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        left, right = _by_name(old), _by_name(new)
        for name in dict.fromkeys((*left, *right)):
            yield from element_differences(subject, f"{element}[{name}]", left.get(name), right.get(name))
    elif type(old) is not type(new) or encode(old) != encode(new):
        yield Difference(what=What.ELEMENT, subject=subject, element=element, old=old, new=new)


def _by_name(entries: Sequence[Json]) -> dict[str, Json]:
    """A new first entry must not make all others look changed."""
    named: dict[str, Json] = {}
    for number, entry in enumerate(entries):
        name = str(number)
        if isinstance(entry, dict):
            told = next((f"{key}={entry[key]}" for key in ("uid", "url", "system") if isinstance(entry.get(key), str)), None)
            code = entry.get("code")
            if told is None and isinstance(code, dict):
                told = f"code={next((item.get('code') for item in code.get('coding', ())), code.get('text'))}"
            name = told if told is not None and told not in named else name
        named[name] = entry
    return named


def _of_headers(before: _Outcome, after: _Outcome) -> Iterator[Difference]:
    """Per header: is it set aside, and what is told of it. A header that is set aside now has no issues to compare."""
    for name in sorted({*before.quarantined, *after.quarantined}):
        old, new = before.quarantined.get(name), after.quarantined.get(name)
        if old != new:
            yield Difference(what=What.QUARANTINE, subject=name, element="", old=old, new=new)
    changed = sorted(before.issues ^ after.issues, key=lambda pair: (pair[0], pair[1].field, pair[1].reason, pair[1].severity))
    for name, issue in changed:
        if name in before.quarantined or name in after.quarantined:
            continue
        told = f"{issue.severity}: {issue.reason}"
        gone = (name, issue) in before.issues
        yield Difference(
            what=What.ISSUE, subject=name, element=issue.field, old=told if gone else None, new=None if gone else told
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesCompared:
    """What two directories of mappings make of files."""

    differences: list[Difference]
    files: int
    unreadable: tuple[tuple[Path, str], ...]  #: no DICOM, or damaged: the same for both


def diff_files(old: Path, new: Path, paths: Iterable[Path], site: Understanding) -> FilesCompared:
    """Compare on files and folders. Raises :class:`~gateway.errors.Misconfigured` when either directory has complaints."""
    mappings = _loaded(old), _loaded(new)
    unreadable: list[tuple[Path, str]] = []
    read: list[Path] = []

    def headers() -> Iterator[tuple[str, Header]]:
        for path in files_in(paths):
            try:
                header = read_header(path)
            except Quarantined as error:
                unreadable.append((path, error.reason))
                continue
            read.append(path)
            yield str(path), header

    differences = mapping_diff(*mappings, headers(), site=site)
    differences += [found for path in read for found in _dicom(path, *mappings, site)]
    return FilesCompared(differences=differences, files=len(read), unreadable=tuple(unreadable))


def _loaded(directory: Path) -> Mappings:
    """Complaints of two directories must be told apart."""
    try:
        return load(directory)
    except Misconfigured as error:
        raise Misconfigured([f"{directory}/{complaint}" for complaint in error.complaints]) from error


def _dicom(path: Path, old: Mappings, new: Mappings, site: Understanding) -> Iterator[Difference]:
    """What would change in the normalised DICOM of one file. What one side leaves alone goes out as it was received."""
    before, after = (_changes(path, site.with_mappings(mappings)) for mappings in (old, new))
    for element in dict.fromkeys((*before, *after)):
        received = next(side[element].before for side in (before, after) if element in side)
        left, right = (side[element].after if element in side else received for side in (before, after))
        if left != right:
            yield Difference(what=What.DICOM, subject=str(path), element=element, old=left or None, new=right or None)


def _changes(path: Path, understanding: Understanding) -> dict[str, Change]:
    header = read_header(path)
    try:
        mapping, record = understanding.mappings.for_header(header), understanding.understand(header)
    except Quarantined:
        return {}
    coerced = coerce(path, record, mapping, arrived_at=dt.datetime.fromtimestamp(0, dt.UTC), zone=understanding.site.timezone)
    return {change.path: change for change in coerced.changes}


def difference_lines(differences: Sequence[Difference], files: int) -> Iterator[str]:
    """For the terminal, resource by resource."""
    if not differences:
        yield f"nothing changes ({files} objects compared)"
        return
    dicom = Counter((one.element, one.old, one.new) for one in differences if one.what is What.DICOM)
    subject = ""
    for one in differences:
        if one.what is What.DICOM:
            continue
        if one.subject != subject:
            subject = one.subject
            yield subject
        yield f"  {_line(one)}"
    if dicom:
        yield "normalised DICOM"
    for (element, old, new), count in dicom.items():
        objects = "1 object" if count == 1 else f"{count} objects"
        yield f"  {element}: {plain(old)} -> {plain(new)}    ({objects})"
    kinds = Counter(str(one.what) for one in differences)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    yield f"{len(differences)} differences ({counts}) on {files} objects"


def _line(one: Difference) -> str:
    if one.what is What.RESOURCE:
        verb = "- the whole resource goes" if one.new is None else "+ a new resource appears"
        return f"{verb}: {_summary(one.new or one.old)}"
    if one.what is What.QUARANTINE:
        return f"is set aside: {one.new}" if one.new else f"is no longer set aside ({one.old})"
    if one.what is What.ISSUE:
        return f"{'+' if one.new else '-'} issue {one.element} {one.new or one.old}"
    return f"{one.element}: {plain(one.old)} -> {plain(one.new)}"


def _summary(resource: JsonObject) -> str:
    told = [
        f"{'.'.join(map(str, place))} = {plain(value)}"
        for place, value in leaves(resource)
        if place[-1] in ("value", "text", "uid", "start")
    ]
    return "; ".join(told[:4])
