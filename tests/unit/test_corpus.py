"""Every malformed object of the corpus meets the door and, where it is taken, the reader: the outcome is the one its case names."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import pytest

from gateway import config
from gateway.dicom.file_meta import FileMetaInputs
from gateway.dicom.reading import header_of
from gateway.errors import Quarantined
from gateway.model import Arrival, Received, Record
from gateway.model import Door as Way
from gateway.receive.containment import Refusal, prepare
from gateway.receive.door import Door, Expected
from gateway.receive.talk import Job
from gateway.spool.files import SpoolFiles
from gateway.understanding import Understanding, understanding
from tests.harness import corpus
from tests.harness.corpus import Case
from tests.unit.mapping_files import SHIPPED

CASES = list(corpus.cases())
FAMILIES = {
    family: list(group)
    for family, group in groupby(sorted(CASES, key=lambda case: case.name), lambda case: case.name.split("/")[0])
}
#: Nothing may hold anybody up for longer (goal 12 of the reliability targets).
MOST_SECS = 5.0


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(SpoolFiles(tmp_path_factory.mktemp("spool"), reserve_bytes=0))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Understanding:
    data = tmp_path_factory.mktemp("data")
    return understanding(config.load(None, overrides=[f"data.directory={data}"]).settings, directory=SHIPPED)


def test_the_corpus_is_large_and_every_case_has_its_own_name() -> None:
    assert len(CASES) >= 300
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
    assert {case.status for case in CASES} == {corpus.TAKEN, corpus.DAMAGED, corpus.MISMATCH}


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what the cases hold
@pytest.mark.parametrize("family", FAMILIES)
def test_every_case_comes_to_what_it_names(door: Door, site: Understanding, family: str) -> None:
    wrong = [f"{case.name}: {complaint}" for case in FAMILIES[family] for complaint in complaints(case, door, site)]
    assert wrong == []


def complaints(case: Case, door: Door, site: Understanding) -> Iterator[str]:
    """What came out otherwise than the case says."""
    data = case.build()
    started = time.thread_time()
    received = judged(case, data, door)
    code, reason = received.status, received.reason or ""
    if code != case.status or case.words not in reason:
        yield f"answered {code:04X} '{reason}' instead of {case.status:04X} '{case.words}'"
    if code and not reason.endswith("."):
        yield f"the reason is no sentence: {reason}"
    if code == case.status == corpus.TAKEN:
        yield from misread(case, corpus.part10(case), site)
    if (taken := time.thread_time() - started) > MOST_SECS:
        yield f"took {taken:.1f} s"


def judged(case: Case, data: bytes, door: Door) -> Received:
    meta = FileMetaInputs(
        transfer_syntax_uid=case.syntax,
        sop_class_uid=case.announced_class,
        sop_instance_uid=case.announced_instance,
        calling_ae="CORPUS",
        called_ae="ISOBRIDGE",
    )
    arrival = Arrival(
        door=Way.DIMSE, calling_ae="CORPUS", called_ae="ISOBRIDGE", peer="192.0.2.1", received_at=dt.datetime.now(dt.UTC)
    )
    expected = Expected(
        sop_class_uid=case.announced_class,
        sop_instance_uid=case.announced_instance,
        abstract_syntax_uid=case.negotiated_class,
    )
    incoming = door.begin(meta)
    incoming.write(data)
    prepared = prepare(door, Job(incoming, arrival, expected))
    assert not isinstance(prepared, Refusal), f"{case.name}: {prepared}"  # an internal fault
    prepared.incoming.discard()
    return prepared.received


def misread(case: Case, file: bytes, site: Understanding) -> Iterator[str]:
    try:
        record = site.understand(header_of(file))
    except Quarantined as error:
        if case.withheld or case.unknown or case.read or case.quarantined not in error.reason:
            yield f"quarantined: {error.reason}"
        return
    if case.quarantined:
        yield "was read"
    fields = fields_of(record)
    issues = {issue.field for issue in (*record.shared.issues, *record.issues)}
    if case.withheld and (found(fields, case.withheld) is not None or case.withheld not in issues):
        yield f"{case.withheld} is not withheld: {found(fields, case.withheld)}, issues of {sorted(issues)}"
    if case.unknown and found(fields, case.unknown) is not None:
        yield f"{case.unknown} is {found(fields, case.unknown)}"
    for path, wanted in case.read.items():
        if str(found(fields, path)) != wanted:
            yield f"{path} is {found(fields, path)} instead of {wanted}"
    yield from (f"{path} holds {text!r}" for path, text in unbelievable(fields))


def fields_of(record: Record) -> dict[str, Any]:
    shared = record.shared
    administration = shared.administrations[0] if shared.administrations else {}
    return {
        "patient": shared.patient, "study": shared.study, "series": shared.series, "device": shared.device,
        "instance": record.instance, "administration": administration, "results": list(shared.results),
    }  # fmt: skip


def found(tree: Any, path: str) -> Any:
    for step in path.split("."):
        tree = tree.get(step) if isinstance(tree, Mapping) else None
    return tree


def unbelievable(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nothing of this may ever be published: letters that stand for lost ones, numbers that are none."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from unbelievable(value, f"{path}.{key}")
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from unbelievable(value, f"{path}[]")
    elif isinstance(tree, float) or str(tree) in ("NaN", "Infinity", "-Infinity") or "\ufffd" in str(tree) or "\0" in str(tree):
        yield path, str(tree)


def test_a_file_header_that_lies_costs_nothing_but_the_file() -> None:
    """PS3.10 7.1: what stands before the object in files; read, or refused with a sentence."""
    cases = list(corpus.file_cases())
    assert [complaint for case in cases if (complaint := misplaced(case))] == []


def misplaced(case: Case) -> str:
    try:
        header = header_of(case.build())
    except Quarantined as error:
        is_right = case.quarantined and case.quarantined in error.reason
        return "" if is_right else f"{case.name}: {error.reason}"
    is_right = not case.quarantined and header.walk.text(0x00080018) == corpus.INSTANCE
    return "" if is_right else f"{case.name} was read"
