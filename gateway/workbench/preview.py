"""What the mappings in force would make of files: the FHIR bundles and the normalised DICOM, without a daemon, a spool or a store."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gateway.dicom.reading import Header, read_header
from gateway.errors import Quarantined, Rejected
from gateway.fhir.provenance import instant
from gateway.model import Issue, JsonObject, Record
from gateway.normalise.coerce import Change, Coerced, coerce
from gateway.r4.bundles import resources_of
from gateway.r4.canonical import encode
from gateway.understanding import Understanding
from gateway.workbench.convert import Problem, bundles_of
from gateway.workbench.coverage import kind_of
from gateway.workbench.folders import files_in

NOT_DICOM = "not understood as DICOM"
_LONGEST = 100


@dataclass(kw_only=True)
class Previewed:
    """One file. ``set_aside`` is the reason why nothing of it would be published."""

    path: Path
    kind: str = NOT_DICOM  #: SOP class in words
    mapping: str = ""
    set_aside: str = ""
    issues: list[Issue] = field(default_factory=list)
    changes: tuple[Change, ...] = ()
    dicom_problems: tuple[str, ...] = ()  #: why the normalised DICOM is not what the mapping wants

    def as_json(self) -> JsonObject:
        return {
            "path": str(self.path),
            "kind": self.kind,
            "mapping": self.mapping,
            "set_aside": self.set_aside,
            "issues": [issue.as_json() for issue in self.issues],
            "dicom": [{"path": c.path, "before": c.before, "after": c.after, "rule": c.rule} for c in self.changes],
            "dicom_problems": list(self.dicom_problems),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The files of one kind."""

    kind: str
    files: int
    mapped: int
    with_issues: int
    issues: int
    set_aside: int

    def as_json(self) -> JsonObject:
        return {name: getattr(self, name) for name in ("kind", "files", "mapped", "with_issues", "issues", "set_aside")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """All files, in their order, and the bundles they would give together."""

    files: tuple[Previewed, ...]
    bundles: tuple[JsonObject, ...]

    @property
    def complete(self) -> bool:
        return not any(file.set_aside for file in self.files)

    def summary(self) -> list[Summary]:
        """Per kind: how many were mapped, had issues, were set aside."""
        kinds = Counter(file.kind for file in self.files)
        found = []
        for kind, count in sorted(kinds.items()):
            those = [file for file in self.files if file.kind == kind]
            aside = sum(bool(file.set_aside) for file in those)
            issues = sum(len(file.issues) for file in those)
            with_issues = sum(bool(file.issues) for file in those)
            found.append(
                Summary(kind=kind, files=count, mapped=count - aside, with_issues=with_issues, issues=issues, set_aside=aside)
            )
        return found

    def as_json(self) -> JsonObject:
        return {
            "files": [file.as_json() for file in self.files],
            "summary": [one.as_json() for one in self.summary()],
            "bundles": list(self.bundles),
        }


def preview(paths: Iterable[Path], understanding: Understanding, *, now: float, out: Path | None = None) -> Preview:
    """Look at files and folders. With ``out``, ``bundle.json`` and the normalised objects (``dicom/*.dcm``) are written there.

    ``now`` (seconds since 1970) stands where the ledger's time of arrival would. No file stops the others.
    """
    files: list[Previewed] = []
    read: dict[str, tuple[Previewed, Record]] = {}
    written = _Written(out)
    for path in files_in(paths):
        file = Previewed(path=path)
        files.append(file)
        record = _read(file, understanding)
        if record is None:
            continue
        first = read.setdefault(str(record.instance.get("uid")), (file, record))
        if first[0] is not file and first[1] != record:
            file.set_aside = "Another file has the same SOP Instance UID with other content; the first one was taken."
        _normalised(file, record, understanding, now, written)
    problems: list[Problem] = []
    kept, places = [record for _, record in read.values()], [file.path for file, _ in read.values()]
    bundles = tuple(bundles_of(kept, places, understanding, instant(now), problems))
    _tell(problems, {file.path: file for file in files})
    written.bundles(bundles)
    return Preview(files=tuple(files), bundles=bundles)


def _read(file: Previewed, understanding: Understanding) -> Record | None:
    try:
        header: Header = read_header(file.path)
        file.kind = kind_of(header)
        file.mapping = understanding.mappings.for_header(header).name
        record = understanding.understand(header)
    except (Quarantined, Rejected) as error:
        file.set_aside = error.reason
        return None
    except OSError as error:
        file.set_aside = f"The file cannot be read: {error.strerror}."
        return None
    file.issues = [*record.shared.issues, *record.issues]
    return record


def _normalised(file: Previewed, record: Record, understanding: Understanding, now: float, written: _Written) -> None:
    """The object as targets with ``send: normalised`` would get it."""
    mapping = understanding.mappings.named(file.mapping)
    try:
        coerced = coerce(
            file.path, record, mapping, arrived_at=dt.datetime.fromtimestamp(now, dt.UTC), zone=understanding.site.timezone
        )
    except Quarantined as error:
        file.dicom_problems = (error.reason,)
        return
    file.changes, file.dicom_problems = coerced.changes, coerced.problems
    written.dicom(file.path, coerced)


def _tell(problems: Sequence[Problem], files: dict[Path, Previewed]) -> None:
    """What came up when records met each other, under the files concerned."""
    for problem in problems:
        file = files[problem.path]
        if problem.set_aside:
            file.set_aside = problem.reason
        else:
            issue = Issue(field=problem.field, reason=problem.reason, severity=problem.severity)
            file.issues += [] if issue in file.issues else [issue]


class _Written:
    """The folder that a person asked for, if any."""

    def __init__(self, out: Path | None) -> None:
        self._out = out
        self._names: set[str] = set()
        if out:
            (out / "dicom").mkdir(parents=True, exist_ok=True)

    def dicom(self, path: Path, coerced: Coerced) -> None:
        if self._out is None:
            return
        name = f"{path.stem}.dcm"
        if name in self._names:
            name = f"{path.stem}_{len(self._names)}.dcm"
        self._names.add(name)
        with (self._out / "dicom" / name).open("wb") as stream:
            coerced.write_to(stream)

    def bundles(self, bundles: Sequence[JsonObject]) -> None:
        if self._out:
            lines = b",\n".join(msgspec.json.format(encode(bundle), indent=2) for bundle in bundles)
            (self._out / "bundle.json").write_bytes(b"[" + lines + b"]\n")


def preview_lines(found: Preview) -> Iterator[str]:
    """For the terminal: a line per file, its issues and changes below; the bundles in a line each; a table per kind."""
    for file in found.files:
        state = f"set aside: {file.set_aside}" if file.set_aside else _counted(file)
        yield f"{file.path}: {file.mapping or file.kind}: {state}"
        yield from (f"    {issue.severity}: {issue.field} {issue.reason}" for issue in file.issues)
        for change in file.changes:
            yield f"    dicom: {change.path}: {_quoted(change.before)} -> {_quoted(change.after)}    [{change.rule}]"
        yield from (f"    dicom: {problem}" for problem in file.dicom_problems)
    yield ""
    for bundle in found.bundles:
        kinds = Counter(resource["resourceType"] for resource in resources_of(bundle))
        yield "bundle: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    yield ""
    yield from _table(found.summary())


def _counted(file: Previewed) -> str:
    issues = f"{len(file.issues)} issue{'s' if len(file.issues) != 1 else ''}"
    changes = f", {len(file.changes)} DICOM change{'s' if len(file.changes) != 1 else ''}" if file.changes else ""
    return f"mapped, {issues}{changes}"


def _quoted(text: str) -> str:
    if not text:
        return "nothing"
    return f'"{text}"' if len(text) <= _LONGEST else f'"{text[:_LONGEST]}…"'


def _table(rows: Sequence[Summary]) -> Iterator[str]:
    width = max((len(row.kind) for row in rows), default=0)
    yield f"{'kind':<{width}}  files  mapped  with issues  issues  set aside"
    for row in rows:
        yield (
            f"{row.kind:<{width}}  {row.files:>5}  {row.mapped:>6}  {row.with_issues:>11}  {row.issues:>6}  {row.set_aside:>9}"
        )
    total = [sum(getattr(row, name) for row in rows) for name in ("files", "mapped", "with_issues", "issues", "set_aside")]
    yield f"{'all':<{width}}  {total[0]:>5}  {total[1]:>6}  {total[2]:>11}  {total[3]:>6}  {total[4]:>9}"
