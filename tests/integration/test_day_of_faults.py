"""A day in which an archive and a FHIR server do everything wrong, and after it all is delivered without a hand.

Twenty-four hours pass on the clock that the lanes read (:mod:`gateway.lanes`); who waits for a pause takes a step on that clock instead of
sleeping. All else is real: ledger, files, sealing, HTTP over TLS, time-outs, certificates. The servers are those of the harness, which can
misbehave at will and notice whatever comes twice.
"""

from __future__ import annotations

import hashlib
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
import sqlalchemy as sa

from gateway import lanes
from gateway.lanes import FactLane, ImageLane, LaneSettings
from gateway.publish import fhir_server
from gateway.publish.fhir_http import Access, FhirHttp
from gateway.publish.fhir_server import FhirServerTarget
from gateway.publish.orthanc import OrthancTarget
from gateway.workers import caught
from tests import builders
from tests.certificates import Authority, Pair
from tests.harness.faultpeers import Answers, FakeFhir, FakeOrthanc, FaultServer, running
from tests.harness.faultproxy import Fault, FaultProxy, Script
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
    (REFUSED, 2.0), (Answers.ERROR, 2.0), (Answers.BUSY, 2.0), (Answers.SLOW, 0.25), (WRONG_CERTIFICATE, 2.0), (HALF_OPEN, 0.25),
    (CUT, 2.0), (Answers.FORGETS, 2.0), (Answers.CUT, 2.0), (BLACK_HOLE, 0.25), (Answers.LOST, 2.0), (Answers.UNAVAILABLE, 2.0),
    (Answers.GARBAGE, 2.0), (LOST, 2.0), (Answers.SLOW, 0.25), (REFUSED, 1.0),
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


@pytest.fixture
def backends() -> tuple[FakeOrthanc, FakeFhir]:
    return FakeOrthanc(), FakeFhir()


@pytest.fixture
def memory_disk() -> Iterator[Path]:
    """A place where a sync costs nothing: a day has thousands of knocks, and each is written down."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:  # noqa: S108
        yield Path(directory)


@pytest.fixture
def site(tmp_path: Path, memory_disk: Path, clock: Clock, backends: tuple[FakeOrthanc, FakeFhir]) -> Iterator[Site]:
    known, foreign = Authority(tmp_path / "ca"), Authority(tmp_path / "foreign", "Somebody Else")
    right, wrong = known.issue("archive"), foreign.issue("archive")
    with ExitStack() as ending:
        archive, research = (Place(backend, ending, right, wrong) for backend in backends)
        built = Site(memory_disk, archive, research, known.file, clock)
        ending.callback(built.close)
        yield built


def test_after_a_day_of_every_fault_all_is_delivered_without_a_hand(site: Site, backends: tuple[FakeOrthanc, FakeFhir]) -> None:
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
    archive, research = backends
    assert sorted(uid for uid, _ in archive.held.values()) == sorted(str(one.SOPInstanceUID) for one in objects[::3])
    assert {hashlib.sha256(content).digest() for _, content in archive.held.values()} == {
        hashlib.sha256(path.read_bytes()).digest() for path in site.house.spooled().values()
    }
    assert {key.partition("/")[0] for key in research.held} >= {"Patient", "ImagingStudy", "MedicationAdministration"}
    assert archive.twice() == []
    assert research.twice() == []
