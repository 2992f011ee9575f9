"""Files and folders straight to FHIR transaction bundles: the pipeline without a daemon, a spool or a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Quarantined, Rejected
from gateway.gather.study import Member, gather_study
from gateway.gather.withheld import repeats_its_source
from gateway.model import Administration, Dossier, Issue, JsonObject, Record, Severity, SharedFields, Study
from gateway.understanding import Understanding
from gateway.workbench.folders import files_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a person should know about one file. ``set_aside`` means that nothing of it was converted."""

    path: Path
    reason: str
    field: str = ""
    severity: Severity = Severity.ERROR
    set_aside: bool = False

    def as_json(self) -> JsonObject:
        words = {"path": str(self.path), "severity": str(self.severity), "field": self.field, "reason": self.reason}
        return {name: value for name, value in words.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What came of it: one bundle per subject, and the problems in the order of the files."""

    bundles: tuple[JsonObject, ...]
    problems: tuple[Problem, ...]
    files: int

    @property
    def complete(self) -> bool:
        """Whether every file was understood."""
        return not any(problem.set_aside for problem in self.problems)


def convert(
    paths: Iterable[Path], understanding: Understanding, *, recorded: str, on_file: Callable[[Path], None] | None = None
) -> Conversion:
    """Convert files. ``recorded`` is the instant written into Provenance; the installation key decides the ids."""
    problems: list[Problem] = []
    records: dict[str, tuple[Path, Record]] = {}
    count = 0
    for path in files_in(paths):
        count += 1
        if on_file:
            on_file(path)
        record = _read(path, understanding, problems)
        if record is not None:
            _keep(path, record, records, problems)
    problems += _issues(records.values())
    kept, places = [record for _, record in records.values()], [path for path, _ in records.values()]
    bundles = tuple(bundles_of(kept, places, understanding, recorded, problems))
    return Conversion(bundles=bundles, problems=tuple(problems), files=count)


def _read(path: Path, understanding: Understanding, problems: list[Problem]) -> Record | None:
    try:
        return understanding.read(path)
    except (Quarantined, Rejected) as error:
        problems.append(Problem(path=path, reason=error.reason, set_aside=True))
    except OSError as error:
        problems.append(Problem(path=path, reason=f"The file cannot be read: {error.strerror}.", set_aside=True))
    return None


def _keep(path: Path, record: Record, records: dict[str, tuple[Path, Record]], problems: list[Problem]) -> None:
    """One record per SOP Instance UID; the same again is no news, another content is a conflict for a human."""
    uid = str(record.instance.get("uid", ""))
    if uid not in records:
        records[uid] = (path, record)
    elif records[uid][1] != record:
        reason = "Another file has the same SOP Instance UID with other content; the first one was taken."
        problems.append(Problem(path=path, reason=reason, set_aside=True))


def _issues(found: Iterable[tuple[Path, Record]]) -> Iterator[Problem]:
    """Every issue once: what a whole series shares is told for its first file."""
    told: set[tuple[str, Issue]] = set()
    for path, record in found:
        for issue in (*record.shared.issues, *record.issues):
            mark = (str(record.shared.series.get("uid")), issue)
            if mark not in told:
                told.add(mark)
                yield Problem(path=path, reason=issue.reason, field=issue.field, severity=issue.severity)


def bundles_of(
    records: Sequence[Record],
    paths: Sequence[Path],
    understanding: Understanding,
    recorded: str,
    problems: list[Problem],
) -> Iterator[JsonObject]:
    """One bundle per study and per dossier; ``paths`` name the records in the problems that come up on the way."""
    studies = [gather_study(uid, group) for uid, group in sorted(_by_study(records, understanding).items())]
    held = {number: reason for study in studies for number, reason in study.hold.items()}
    problems += [Problem(path=paths[number], reason=reason, set_aside=True) for number, reason in held.items()]
    dossiers: dict[str, dict[str, SharedFields]] = defaultdict(dict)
    for number, record in enumerate(records):
        if number not in held:
            dossiers[understanding.patients.of(record.shared)][record.shared.key] = record.shared
    for study in studies:
        problems += _of_factors(study, records, paths)
        try:
            yield understanding.study_bundle(study, list(dossiers[study.patient_key].values()), recorded=recorded).body
        except Quarantined as error:
            problems += _refused(error, paths, [n for n, one in enumerate(records) if one.shared.study.get("uid") == study.uid])
    for patient, shared in sorted(dossiers.items()):
        dossier = understanding.dossier(patient, [shared[key] for key in sorted(shared)], {})
        problems += _of_dossier(dossier.administrations, records, paths)
        problems += _of_documents(dossier, records, paths)
        if not (dossier.administrations or dossier.results or dossier.documents):
            continue
        try:
            yield understanding.renderer.dossier(dossier, recorded=recorded).body
        except Quarantined as error:
            problems += _refused(error, paths, [n for n, one in enumerate(records) if one.shared.key in shared])


def _refused(error: Quarantined, paths: Sequence[Path], numbers: Sequence[int]) -> Iterator[Problem]:
    """A subject whose FHIR is not valid: told for each of its files, the others go on."""
    return (Problem(path=paths[number], reason=error.reason, set_aside=True) for number in numbers)


def _of_dossier(administrations: Iterable[Administration], records: Sequence[Record], paths: Sequence[Path]) -> Iterator[Problem]:
    """What came up when administrations were gathered, each under the first file that tells of it."""
    for item in administrations:
        telling = (
            path
            for path, record in zip(paths, records, strict=True)
            if record.shared.administrations and record.shared.series.get("uid") in item.series_uids
        )
        path = next(telling)
        new = (issue for issue in item.issues if not repeats_its_source(issue))
        yield from (Problem(path=path, reason=i.reason, field=i.field, severity=i.severity) for i in new)


def _of_factors(study: Study, records: Sequence[Record], paths: Sequence[Path]) -> Iterator[Problem]:
    """What a dose report tells otherwise than the headers that a SUV factor rests on, under the first file of the series."""
    for series in study.series:
        reason = series.suv.get("discrepancy")
        if reason:
            found = zip(paths, records, strict=True)
            path = next(path for path, record in found if record.shared.series.get("uid") == series.fields["uid"])
            yield Problem(path=path, reason=str(reason), field="series.suv", severity=Severity.WARNING)


def _of_documents(dossier: Dossier, records: Sequence[Record], paths: Sequence[Path]) -> Iterator[Problem]:
    """What of a document is not published, and what its facts must say besides, each once and under the file of the document."""
    named = {str(record.shared.document.get("uid")): path for path, record in zip(paths, records, strict=True)}
    studies = {str(record.shared.study.get("uid")): path for path, record in zip(reversed(paths), reversed(records), strict=True)}
    home = {one.key: named.get(one.key) or studies.get(one.study_uid) for one in dossier.documents}
    told = [(one.key, issue) for one in dossier.documents for issue in one.issues]
    told += [(one.document, issue) for one in dossier.results for issue in one.issues]
    for key, issue in dict.fromkeys(told):
        path = home.get(key)
        if path is not None:
            yield Problem(path=path, reason=issue.reason, field=issue.field, severity=issue.severity)


def _by_study(records: Sequence[Record], understanding: Understanding) -> dict[str, list[Member]]:
    grouped: dict[str, list[Member]] = defaultdict(list)
    for number, record in enumerate(records):
        member = Member(
            member_id=number,
            patient_key=understanding.patients.of(record.shared),
            shared=record.shared,
            instance=record.instance,
        )
        grouped[str(record.shared.study.get("uid", ""))].append(member)
    return grouped
