"""A day in which an archive and a FHIR server do everything wrong, and after it all is delivered without a hand.

Twenty-four hours pass on the clock that the lanes read (:mod:`gateway.lanes`); who waits for a pause takes a step on that clock instead of
sleeping. All else is real: ledger, files, sealing, HTTP over TLS, time-outs, certificates. The servers are those of the harness, which can
misbehave at will and notice whatever comes twice; then real ones, with the harness before them.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from gateway import lanes
from gateway.lanes import FactLane, ImageLane, LaneSettings
from gateway.publish import fhir_server
from gateway.publish.fhir_http import Access, FhirHttp
from gateway.publish.fhir_server import FhirServerTarget
from gateway.publish.orthanc import OrthancTarget
from gateway.workers import caught
from tests import builders
from tests.acceptance.test_targets import KINDS, needless_versions
from tests.certificates import Authority, Pair
from tests.harness.faultbefore import BeforeFhir, BeforeOrthanc
from tests.harness.faultpeers import Answers, FakeFhir, FakeOrthanc, FaultServer, running
from tests.harness.faultproxy import Fault, FaultProxy, Script
from tests.harness.peers import Orthanc, Sekmet
from tests.integration.receiving import digest_of
from tests.integration.test_retention import House

pytestmark = [pytest.mark.needs("openssl")]

HOUR_SECS = 3600.0
RETRY_FOR_HOURS = 72  #: as shipped
PATIENCE_SECS = 0.15  #: real ones: what a slow or silent server costs the test

REFUSED, HALF_OPEN, BLACK_HOLE = Script(fault=Fault.REFUSE), Script(fault=Fault.HALF_OPEN), Script(fault=Fault.BLACK_HOLE)
CUT, LOST = Script(fault=Fault.CUT, after_bytes=900), Script(fault=Fault.LOSE_ANSWER)
WRONG_CERTIFICATE = "wrong certificate"
#: What the day brings, and for how many hours. Silence is short: each knock costs the test real time.
DAY: tuple[tuple[Script | Answers | str, float], ...] = (
    (REFUSED, 1.0), (Answers.ERROR, 3.0), (Answers.BUSY, 4.0), (Answers.SLOW, 0.25), (WRONG_CERTIFICATE, 1.0), (HALF_OPEN, 0.25),
    (CUT, 1.0), (Answers.FORGETS, 3.0), (Answers.CUT, 1.0), (BLACK_HOLE, 0.25), (Answers.LOST, 1.0), (Answers.UNAVAILABLE, 4.0),
    (Answers.GARBAGE, 1.0), (LOST, 1.0), (Answers.SLOW, 0.25), (REFUSED, 2.0),
)  # fmt: skip


class Clock:
    """The time that the lanes read."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class Place:
    """One server: well and with a wrong certificate, behind a proxy whose address never changes."""

    def __init__(self, backend: FakeOrthanc | FakeFhir, ending: ExitStack, right: Pair, wrong: Pair) -> None:
        self.behaviour = backend.behaviour
        self._right, self._wrong = (FaultServer(backend, certificate=(pair.certificate, pair.key)) for pair in (right, wrong))
        ending.enter_context(running(self._right, self._wrong))
        self.proxy = ending.enter_context(FaultProxy(self._right.address))
        self.url = f"https://127.0.0.1:{self.proxy.port}"

    def suffers(self, fault: Script | Answers | str | None) -> None:
        self.behaviour.retry_after_secs = 600
        self.behaviour.answers = fault if isinstance(fault, Answers) else Answers.WELL
        self.proxy.set(fault if isinstance(fault, Script) else Script())
        self.proxy.upstream = (self._wrong if fault == WRONG_CERTIFICATE else self._right).address
        self.proxy.hang_up()


class Site:
    """A gateway without its daemon, an archive and a FHIR server, and the clock."""

    def __init__(self, folder: Path, archive: Place, research: Place, trusted: Path, clock: Clock) -> None:
        self.clock = clock
        self.places = (archive, research)
        self.house = House(folder, SimpleNamespace(url=archive.url))  # type: ignore[arg-type]
        self.house.images.close()
        line, settings = self.house.line, LaneSettings(lease_secs=60, retry_budget_secs=RETRY_FOR_HOURS * HOUR_SECS)

        def access(url: str) -> Access:
            return Access(url=url, ca_file=trusted, connect_timeout_secs=PATIENCE_SECS, timeout_secs=PATIENCE_SECS)

        images = OrthancTarget("archive", access(archive.url))
        known = partial(line.ledger.deliveries.published, "research")
        facts = FhirServerTarget("research", FhirHttp(access(f"{research.url}/fhir")), known)
        line.archives, line.targets = [images], [facts]
        self.lanes: tuple[ImageLane | FactLane, ...] = (
            ImageLane(images, line, settings, caught),
            FactLane(facts, line, settings, caught),
        )

    def live(self, hours: float) -> None:
        """Let time pass: lanes step when they may, and between their steps the clock jumps to the next one."""
        ends_at = self.clock.now + hours * HOUR_SECS
        while self.clock.now < ends_at:
            for lane in self.lanes:
                while not lane.pause_secs and lane.step():
                    pass
            self.clock.now = min(ends_at, max(self.clock.now + 0.5, self._next_step()))

    def _next_step(self) -> float:
        """When a lane may do something next. What is due and waits behind another of its patient comes with that one."""
        query = f"SELECT target, MIN(next_attempt_at) FROM delivery WHERE next_attempt_at > {self.clock.now} GROUP BY target"  # noqa: S608
        due = dict(self._rows(query))
        pauses = {lane.name: self.clock.now + lane.pause_secs for lane in self.lanes if lane.pause_secs}
        return min([*pauses.values(), *(at for name, at in due.items() if name not in pauses)], default=self.clock.now + 60)

    def states(self) -> Counter[tuple[str, str]]:
        return Counter((target, state) for target, state in self._rows("SELECT target, state FROM delivery"))

    def reasons(self) -> set[str]:
        return {reason for (reason,) in self._rows("SELECT DISTINCT reason FROM delivery WHERE reason IS NOT NULL")}

    def _rows(self, query: str) -> list[Any]:
        with self.house.ledger.database.read() as connection:
            return list(connection.execute(sa.text(query)))

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        self.house.ledger.close()
        self.house.store.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    ours = Clock()
    for module in (lanes, fhir_server):
        monkeypatch.setattr(module, "time", ours)
    return ours


class Fakes:
    """The servers of the harness themselves."""

    def __init__(self) -> None:
        self.archive, self.research = FakeOrthanc(), FakeFhir()

    def archived(self) -> set[tuple[str, str]]:
        return {(uid, digest_of(content)) for uid, content in self.archive.held.values()}

    def kinds(self) -> set[str]:
        return {key.partition("/")[0] for key in self.research.held}

    def twice(self) -> list[str]:
        return self.archive.twice() + self.research.twice()


class Real:
    """A real Orthanc and the FHIR server of other people, with the harness before them."""

    def __init__(self, orthanc: Orthanc, fhir: Sekmet) -> None:
        self._orthanc, self._fhir = orthanc, fhir
        self.archive, self.research = BeforeOrthanc(orthanc.url), BeforeFhir(fhir.url)

    def archived(self) -> set[tuple[str, str]]:
        return {(uid, digest) for uid, digests in self._orthanc.held().items() for digest in digests}

    def kinds(self) -> set[str]:
        return {kind for kind in KINDS if any(self._fhir.all(kind))}

    def twice(self) -> list[str]:
        changes = requests.get(f"{self._orthanc.url}/changes?limit=1000", timeout=20).json()["Changes"]
        stored = Counter(change["ID"] for change in changes if change["ChangeType"] == "NewInstance")
        return needless_versions(self._fhir) + [f"stored {count} times" for count in stored.values() if count > 1]


@pytest.fixture(params=["fakes", pytest.param("real", marks=pytest.mark.needs("orthanc", "sekmet"))])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fakes | Real]:
    if request.param == "fakes":
        yield Fakes()
        return
    with Orthanc(tmp_path / "orthanc") as orthanc, Sekmet(tmp_path / "fhir") as fhir:
        assert isinstance(orthanc, Orthanc)
        assert isinstance(fhir, Sekmet)
        yield Real(orthanc, fhir)


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A place where a sync costs nothing: a day has thousands of knocks, and each is written down."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
def site(tmp_path: Path, memory_disk: Path, clock: Clock, servers: Fakes | Real) -> Iterator[Site]:
    known, foreign = Authority(tmp_path / "ca"), Authority(tmp_path / "foreign", "Somebody Else")
    right, wrong = known.issue("archive", curve=True), foreign.issue("archive", curve=True)
    with ExitStack() as ending:
        archive, research = (Place(backend, ending, right, wrong) for backend in (servers.archive, servers.research))
        built = Site(memory_disk, archive, research, known.file, clock)
        ending.callback(built.close)
        yield built


def test_after_a_day_of_every_fault_all_is_delivered_without_a_hand(site: Site, servers: Fakes | Real) -> None:
    assert sum(hours for _, hours in DAY) == 24
    objects, knocks = list(builders.pet_series(len(DAY))), []
    for number, (fault, hours) in enumerate(DAY):
        before = [place.proxy.connections for place in site.places]
        for place in site.places:
            place.suffers(fault)
        if number % 3 == 0:
            site.house.put(objects[number])
        site.live(hours)
        told = [place.proxy.connections - number for place, number in zip(site.places, before, strict=True)]
        knocks.append(f"{hours} h {fault}: {told} connections, {dict(site.states())}")
        assert "parked" not in {state for _, state in site.states()}, (fault, site.reasons())
    print(*knocks, sep="\n")
    for place in site.places:
        place.suffers(None)
    site.live(1)
    assert {state for _, state in site.states()} <= {"verified", "superseded"}, site.reasons()
    assert servers.archived() == {(str(one.SOPInstanceUID), digest_of(builders.part10(one))) for one in objects[::3]}
    assert servers.kinds() >= {"Patient", "ImagingStudy", "MedicationAdministration"}
    assert servers.twice() == []
