"""Replay: what the spool still holds is mapped again by the mappings in force. The daemon does the work; this asks, watches and tells.

A rehearsal does the same in this process and writes nothing: every object read anew, every study and dossier gathered and rendered as
sealing would, and compared with what was sealed last.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from gateway.contents import dossier_content, members_of, study_content
from gateway.errors import Quarantined, Rejected
from gateway.gather.study import Member
from gateway.line import Line
from gateway.model import JsonObject, Record, SharedFields
from gateway.r4.bundles import resources_of
from gateway.spool import bodies
from gateway.spool.decisions import BAD_REQUEST
from gateway.spool.ledger import Ledger
from gateway.spool.replays import Progress, Scope
from gateway.spool.stages import Ticket
from gateway.spool.standing import standing
from gateway.spool.study_view import NOT_FOUND
from gateway.spool.subjects import Sealed, SubjectKind, SubjectTicket
from gateway.workbench.deploy import difference_line
from gateway.workbench.mapping_diff import Difference, resource_differences

_UID_LETTERS = frozenset("0123456789.")
#: Rendering reads no clock; of what is compared nothing depends on it.
_RECORDED = "1970-01-01T00:00:00.000+00:00"
_SHOWN = 40


def scope_of(since: str | None, study: str | None, zone: ZoneInfo) -> Scope:
    """From the words of the command. A day begins at midnight of the site's zone; the spool counts days in UTC."""
    if (since is None) == (study is None):
        raise Rejected("Give either --since DATE or --study UID.", status=BAD_REQUEST)
    if study is not None:
        if not study or len(study) > 64 or not set(study) <= _UID_LETTERS:
            raise Rejected("A Study Instance UID has digits and points.", status=BAD_REQUEST)
        return Scope(study=study)
    try:
        day = dt.date.fromisoformat(since or "")
    except ValueError as error:
        raise Rejected(f"'{since}' is not a date like 2026-01-31.", status=BAD_REQUEST) from error
    begin = dt.datetime.combine(day, dt.time(), tzinfo=zone).astimezone(dt.UTC)
    return Scope(since_day=begin.date().isoformat())


def ask(ledger: Ledger, scope: Scope, *, now: float) -> int:
    """Have the daemon map again what is in scope. Raises :class:`Rejected` when there is nothing."""
    if not ledger.replays.studies(scope):
        raise Rejected("Nothing that can be mapped again is in this scope; nothing was changed.", status=NOT_FOUND)
    return ledger.replays.ask(scope, now=now)


def watch(
    ledger: Ledger, replay: int, *, alive: Callable[[], bool], pause: Callable[[], None], clock: Callable[[], float],
    on_progress: Callable[[Progress], None],
) -> bool:  # fmt: skip
    """Until everything is mapped again and gathered. False when no gateway works on it any more: it goes on when one starts."""
    while True:
        progress = ledger.replays.progress(replay)
        on_progress(progress)
        if not progress.waiting and not ledger.replays.subjects_due(replay, now=clock()):
            return True
        if not alive():
            return False
        pause()


def outcome_lines(ledger: Ledger, replay: int) -> Iterator[str]:
    """What came of it."""
    progress = ledger.replays.progress(replay)
    versions = ledger.replays.versions(replay)
    done = progress.total - progress.waiting - progress.problems
    yield f"{done} of {progress.total} objects mapped again; {progress.problems} stay as they were"
    for reason, objects in ledger.replays.problems(replay):
        yield f"  {objects} x {reason}"
    new = ", ".join(f"{number} {kind} versions" for kind, number in sorted(versions.items()))
    waiting = progress.waiting or ledger.replays.subjects_due(replay, now=time.time())
    yield f"sealed of them: {new}" if new else "nothing sealed yet" if waiting else "nothing changed: no new version of them"


@dataclass
class Rehearsal:
    """A replay that writes nothing."""

    line: Line
    scope: Scope
    missing: int = 0
    problems: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    healed: int = 0  #: what was set aside, or in shadow, and would be published
    still_aside: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _replaced: dict[str, SharedFields] = field(default_factory=dict)  #: key of what was shared -> what is shared now
    _patients: set[str] = field(default_factory=set)
    _added: dict[str, dict[str, SharedFields]] = field(default_factory=dict)  #: patient -> what the healed objects share

    def study(self, uid: str) -> list[Difference]:
        """What of one study would come out otherwise."""
        ledger = self.line.ledger
        records = ledger.subjects.study_records(uid)
        decided = standing(ledger.decisions.of_study(uid))
        members = []
        files = {item.instance_id: item for item in ledger.replays.files([record.instance_id for record in records])}
        for record, member in zip(records, members_of(records), strict=True):
            self._patients.add(member.patient_key)
            file = files[record.instance_id]
            again = self._again(member, file, decided.effective) if file.day >= self.scope.since_day else None
            members.append(again or member)
            self._patients.add(members[-1].patient_key)
        members += self._healed(uid, decided.effective)
        ticket = SubjectTicket(kind=SubjectKind.STUDY, key=uid, token=0, seen=0)
        return self._compare(ticket, study_content(ticket, members, self.line, _RECORDED))

    def _again(self, member: Member, file: Ticket, effective: Callable[[str], str]) -> Member | None:
        """The object read anew; None when it keeps its record."""
        path = self.line.files.locate(file.day, file.digest)
        if not path.exists():
            self.missing += 1
            return None
        try:
            record = self.line.understanding.read(path, file.came)
        except Quarantined as error:
            self.problems[error.reason] += 1
            return None
        self._replaced[member.shared.key] = record.shared
        return self._member(member.member_id, record, effective, held=member.held)

    def _healed(self, uid: str, effective: Callable[[str], str]) -> Iterator[Member]:
        """What of a study the mappings in force understand after all."""
        site = self.line.understanding
        for file in self.line.ledger.replays.set_aside(uid, self.scope.since_day):
            path = self.line.files.locate(file.day, file.digest)
            try:
                record = site.read(path, file.came)
            except (Quarantined, FileNotFoundError) as error:
                self.still_aside[error.reason if isinstance(error, Quarantined) else "its file has left the spool"] += 1
                continue
            if site.mappings.named(record.shared.mapping).shadow:
                self.still_aside[f"the mapping '{record.shared.mapping}' is in shadow"] += 1
                continue
            self.healed += 1
            member = self._member(file.instance_id, record, effective, held=False)
            self._patients.add(member.patient_key)
            self._added.setdefault(member.patient_key, {})[record.shared.key] = record.shared
            yield member

    def _member(self, member_id: int, record: Record, effective: Callable[[str], str], *, held: bool) -> Member:
        return Member(
            member_id=member_id,
            patient_key=effective(self.line.understanding.patients.of(record.shared)),
            shared=record.shared,
            instance=record.instance,
            held=held,
        )

    def dossiers(self) -> Iterator[Difference]:
        """What of the patients of these studies would come out otherwise. To be asked last."""
        for patient_key in sorted(self._patients):
            stored = [item.fields for item in self.line.ledger.subjects.dossier_shared(patient_key)]
            fresh = {shared.key: shared for shared in (self._replaced.get(item.key, item) for item in stored)}
            fresh |= self._added.get(patient_key, {})
            ticket = SubjectTicket(kind=SubjectKind.DOSSIER, key=patient_key, token=0, seen=0)
            sealed = dossier_content(ticket, [fresh[key] for key in sorted(fresh)], self.line, _RECORDED)
            yield from self._compare(ticket, sealed)

    def _compare(self, ticket: SubjectTicket, sealed: Sealed) -> list[Difference]:
        last = self.line.ledger.subjects.last_sealed(ticket)
        before = _by_reference(resources_of(last.bundle) if last else [])
        after = _by_reference(resources_of(bodies.unpack(bodies.pack(sealed.bundle))) if sealed.bundle else [])
        return list(resource_differences(before, after))


def _by_reference(resources: Sequence[JsonObject]) -> dict[str, JsonObject]:
    return {f"{item['resourceType']}/{item['id']}": item for item in resources if item["resourceType"] != "Provenance"}


def rehearse(ledger: Ledger, line: Line, scope: Scope, on_study: Callable[[int, int], None]) -> Iterator[str]:
    """A dry run as lines. Nothing is written."""
    studies = ledger.replays.studies(scope)
    rehearsal, changed, shown = Rehearsal(line, scope), 0, 0
    for number, uid in enumerate(studies):
        differences = rehearsal.study(uid)
        on_study(number + 1, len(studies))
        if differences:
            changed += 1
            yield f"study {uid}"
            yield from (f"  {difference_line(item)}" for item in differences[: max(0, _SHOWN - shown)])
            shown += len(differences)
    facts = list(rehearsal.dossiers())
    if facts:
        yield "administrations and doses"
        yield from (f"  {difference_line(item)}" for item in facts[:_SHOWN])
    if shown > _SHOWN or len(facts) > _SHOWN:
        yield "  ... and more"
    if rehearsal.missing:
        yield f"{rehearsal.missing} objects have left the spool (retention): not rehearsed; the replay fetches them from the archive"
    for reason, objects in sorted(rehearsal.problems.items()):
        yield f"{objects} objects could not be read by the mappings in force and keep their record: {reason}"
    if rehearsal.healed:
        yield f"{rehearsal.healed} objects that were set aside or in shadow would be published"
    for reason, objects in sorted(rehearsal.still_aside.items()):
        yield f"{objects} objects stay set aside: {reason}"
    yield (
        f"{changed} of {len(studies)} studies would change; {len(facts)} elements of facts"
        if changed or facts
        else (f"nothing would change in {len(studies)} studies")
    )
