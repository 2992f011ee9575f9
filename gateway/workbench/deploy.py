"""Mappings put in force: linted, tested, tried on recent studies, switched in one row of the ledger, and taken back as simply.

The order makes a kill harmless: files first, durable and complete; then the row. The running gateway looks at the row before each piece of
work. Nothing here changes what was published; that is what a replay is for.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.config import Settings
from gateway.dicom.reading import Header, read_header
from gateway.errors import Misconfigured, Quarantined, Rejected, Retryable
from gateway.in_force import changed_on_disk
from gateway.mapping.language import Mappings, load
from gateway.model import Json
from gateway.spool.decisions import CONFLICT, By
from gateway.spool.files import SpoolFiles
from gateway.spool.history import InForce, PutKind
from gateway.spool.ledger import Ledger
from gateway.spool.mapping_versions import MappingVersions, Snapshot, snapshot
from gateway.spool.stages import Ticket
from gateway.spool.study_view import NOT_FOUND
from gateway.tables.library import Adapters, load_adapters
from gateway.tables.selftest import run_adapter_tests
from gateway.understanding import understanding
from gateway.workbench.plain import plain
from gateway.workbench.selftest import run_tests

if TYPE_CHECKING:
    from gateway.workbench.mapping_diff import Difference

#: The change is tried on the distinct headers of so many of the latest studies.
TRIED_STUDIES = 50
_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a change of mappings does to recent studies that the spool still holds."""

    studies: int  #: tried
    headers: int
    gone: int  #: headers whose file has left the spool
    changed: dict[str, list[Difference]]  #: study UID -> what would come out otherwise
    since: str  #: day of the oldest changed study, or nothing
    note: str = ""  #: why nothing could be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A version that may be put in force: linted and tested. Nothing was written for it."""

    taken: Snapshot
    versions: MappingVersions
    kind: PutKind
    former: InForce | None
    changes: tuple[str, ...]  #: files, against what is in force
    tests: int
    shadowed: tuple[str, ...]  #: names of its mappings that are in shadow
    tried: Tried

    @property
    def version(self) -> str:
        return self.taken.version

    @property
    def restores(self) -> bool:
        """It is in force already, and only its files are to be brought back."""
        return self.former is not None and self.former.version == self.version


def plan_deployment(settings: Settings, ledger: Ledger, directory: Path) -> Plan:
    """Everything but the switch; writes nothing. Raises :class:`Misconfigured` with all complaints of lint and tests.

    What is linted and tested is what was read once: a file that is edited meanwhile is not in it.
    """
    check_owner(settings)
    taken = snapshot(directory)
    with tempfile.TemporaryDirectory(prefix="isobridge-deploy-") as scratch:
        copy = Path(scratch) / "mappings"
        taken.write(copy)
        mappings = load(copy)
        tests = _tested(mappings) + count_passed(load_adapters(copy, mappings.codes))
        return _plan(settings, ledger, taken, mappings, PutKind.DEPLOY, ledger.mappings.in_force(), tests)


def plan_rollback(settings: Settings, ledger: Ledger, to: str | None) -> Plan:
    """Back to a former version; by default the one before that in force. Raises :class:`Rejected`, or :class:`Misconfigured`.

    Its tests are not run again: a roll-back must not fail for what passed when it was deployed.
    """
    check_owner(settings)
    former = ledger.mappings.in_force()
    version = _former_version(ledger.mappings.listed(limit=10_000), to)
    versions = MappingVersions(settings.data.directory)
    taken = versions.read(version)
    return _plan(settings, ledger, taken, load(versions.path(version)), PutKind.ROLLBACK, former, 0)


def _former_version(history: Sequence[InForce], to: str | None) -> str:
    current = history[0].version if history else ""
    known = list(dict.fromkeys(item.version for item in history))
    if to is None:
        others = [version for version in known if version != current]
        if not others:
            raise Rejected("There is no former version to go back to; nothing was changed.", status=NOT_FOUND)
        return others[0]
    found = [version for version in known if to and version.startswith(to)]
    if len(found) != 1:
        several = "begins several versions" if found else "is no version that was in force"
        raise Rejected(f"'{to}' {several}; see 'isobridge mappings history'.", status=NOT_FOUND)
    return found[0]


def _plan(
    settings: Settings, ledger: Ledger, taken: Snapshot, mappings: Mappings, kind: PutKind, former: InForce | None, tests: int
) -> Plan:
    versions = MappingVersions(settings.data.directory)
    again = former is not None and former.version == taken.version
    if again and versions.is_whole(taken.version):
        raise Rejected(f"Version {taken.version} is in force already; nothing was changed.", status=CONFLICT)
    changes: tuple[str, ...] = ()
    if former is not None and not again:
        try:
            changes = tuple(taken.changes(versions.read(former.version)))
        except Misconfigured as error:
            changes = (error.reason,)
    return Plan(
        taken=taken,
        versions=versions,
        kind=kind,
        former=former,
        changes=changes,
        tests=tests,
        shadowed=tuple(sorted(mapping.name for mapping in mappings if mapping.shadow)),
        tried=try_on_recent(settings, ledger, None if again else former, mappings),
    )


def put_in_force(ledger: Ledger, plan: Plan, by: By) -> InForce:
    """The switch: its files, durable and whole, then one row. Raises :class:`Rejected` when somebody else was faster."""
    plan.versions.keep(plan.taken)
    if plan.restores and plan.former is not None:
        return plan.former
    return ledger.mappings.put(plan.version, plan.kind, by, after=plan.former)


def check_owner(settings: Settings) -> None:
    """Files of another user would be closed to the gateway. Raises :class:`Misconfigured`."""
    owner = settings.data.directory.stat().st_uid
    if owner != os.geteuid():
        raise Misconfigured(
            f"{settings.data.directory} belongs to another user (uid {owner}): run this as the user of the gateway"
        )


def _tested(mappings: Mappings) -> int:
    results = run_tests(mappings)
    failed = [
        f"{result.where}: {result.mapping}: {result.name}: {'; '.join(result.reasons)}" for result in results if not result.ok
    ]
    if failed:
        raise Misconfigured([*failed, f"{len(failed)} of {len(results)} tests failed; nothing was changed"])
    return len(results)


def count_passed(adapters: Adapters) -> int:
    """How many tests of adapters passed. Raises :class:`Misconfigured` when one did not."""
    results = run_adapter_tests(adapters)
    failed = [f"{one.where}: {one.adapter}: {one.name}: {'; '.join(one.reasons)}" for one in results if not one.ok]
    if failed:
        raise Misconfigured([*failed, f"{len(failed)} of {len(results)} tests of adapters failed; nothing was changed"])
    return len(results)


def try_on_recent(settings: Settings, ledger: Ledger, former: InForce | None, mappings: Mappings) -> Tried:
    """The latest studies by the mappings in force and by these, study by study."""
    from gateway.workbench.mapping_diff import mapping_diff

    nothing = Tried(studies=0, headers=0, gone=0, changed={}, since="")
    if former is None:
        return nothing
    versions = MappingVersions(settings.data.directory)
    try:
        versions.read(former.version)
        site = understanding(settings, directory=versions.path(former.version))
    except Misconfigured as error:
        return Tried(
            studies=0, headers=0, gone=0, changed={}, since="", note=f"not compared with what is in force: {error.reason}"
        )
    files = SpoolFiles(settings.spool_directory)
    by_study: dict[str, list[Ticket]] = {}
    for example in ledger.replays.examples(studies=TRIED_STUDIES):
        by_study.setdefault(example.study_uid, []).append(example)
    changed: dict[str, list[Difference]] = {}
    missing: list[str] = []
    for uid, examples in by_study.items():
        found = mapping_diff(site.mappings, mappings, _headers(examples, files, missing), site=site)
        if found:
            changed[uid] = found
    days = [example.day for uid in changed for example in by_study[uid]]
    return Tried(
        studies=len(by_study),
        headers=sum(map(len, by_study.values())),
        gone=len(missing),
        changed=changed,
        since=min(days, default=""),
    )


def _headers(examples: Sequence[Ticket], files: SpoolFiles, missing: list[str]) -> Iterator[tuple[str, Header]]:
    for example in examples:
        try:
            yield example.sop_instance_uid, read_header(files.locate(example.day, example.digest))
        except (OSError, Quarantined):
            missing.append(example.digest)


def plan_lines(plan: Plan, *, every: bool = False) -> Iterator[str]:
    """What a person looks at before the switch; ``every`` difference, or the first of them."""
    if plan.restores:
        yield f"version {plan.version} is in force already, but its files are gone or damaged: they are brought back"
        return
    yield f"version {plan.version}" + (f", in force is {plan.former.version}" if plan.former else "")
    yield from (f"  {change}" for change in plan.changes)
    if plan.kind is PutKind.DEPLOY:
        yield f"no complaints, {plan.tests} tests passed"
    if plan.shadowed:
        yield f"in shadow, published when approved: {', '.join(plan.shadowed)}"
    yield from tried_lines(plan.tried, every=every)


def tried_lines(tried: Tried, *, every: bool = False) -> Iterator[str]:
    if tried.note:
        yield tried.note
        return
    gone = f"; {tried.gone} have left the spool" if tried.gone else ""
    yield f"tried on {tried.headers} distinct headers of the {tried.studies} latest studies{gone}"
    total = sum(map(len, tried.changed.values()))
    left = total if every else _SHOWN
    for uid, differences in tried.changed.items():
        if left > 0:
            yield f"  study {uid}"
            yield from (f"    {difference_line(difference)}" for difference in differences[:left])
            left -= len(differences)
    if total > _SHOWN and not every:
        yield f"    ... and {total - _SHOWN} more differences, in {len(tried.changed)} studies in all: --all shows them"
    if not tried.changed:
        yield "  nothing would come out otherwise"


def difference_line(difference: Difference) -> str:
    old, new = _short(difference.old), _short(difference.new)
    where = f"{difference.subject}  {difference.element}".rstrip()
    return f"{where}: {old} -> {new}"


def _short(value: Json) -> str:
    text = str(value["resourceType"]) if isinstance(value, dict) and "resourceType" in value else plain(value)
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return clean if len(clean) <= 100 else f"{clean[:97]}..."


def done_lines(plan: Plan, put: InForce) -> Iterator[str]:
    """What a person reads after the switch."""
    if plan.restores:
        yield f"the files of version {put.version} are back; it is in force as before, and a gateway that waited for it goes on by itself"
        return
    yield f"version {put.version} is in force; the running gateway reads by it from its next object on"
    yield "published studies stay as they are" + (
        f": {len(plan.tried.changed)} of the {plan.tried.studies} latest would change: isobridge replay --since {plan.tried.since}"
        if plan.tried.changed
        else ""
    )
    if plan.former:
        yield f"back again: isobridge mappings rollback --to {plan.former.version}"


def standing_line(settings: Settings) -> str | None:
    """For ``config check``: the version in force and what lies undeployed. Looks, and changes nothing: a ledger is not migrated for it."""
    if settings.ledger.url is not None or not (settings.data.directory / "ledger.db").exists():
        return None
    ledger = Ledger(settings.ledger_url)
    try:
        current = ledger.mappings.in_force()
    except Retryable:
        return None  # busy, or of an earlier release
    finally:
        ledger.close()
    changes = changed_on_disk(settings, current.version) if current else []
    if current is None:
        return None
    return f"mappings in force: {current.version}" + (f"; not deployed: {', '.join(changes)}" if changes else "")


def history_lines(history: Sequence[InForce], zone: ZoneInfo) -> Iterator[str]:
    """The latest first; the first line is in force."""
    for number, item in enumerate(history):
        since = dt.datetime.fromtimestamp(item.since, zone).isoformat(sep=" ", timespec="seconds")
        until = (
            dt.datetime.fromtimestamp(history[number - 1].since, zone).isoformat(sep=" ", timespec="seconds") if number else ""
        )
        held = f"until {until}" if until else "in force"
        yield f"{item.version}  since {since}  {held}  {item.kind} by {item.put_by}: {item.reason}"
