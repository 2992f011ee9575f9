"""The FHIR servers that are compared: how each is filled, started and exported from. All on loopback, ended by their own process ids."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import sqlalchemy

from gateway.model import JsonObject
from gateway.publish.embedded import EmbeddedTarget
from gateway.r4.bundles import resources_of
from gateway.r4.canonical import encode
from gateway.store.store import FhirStore
from tests import postgres
from tests.benchmarks.query_data import Person, bundles
from tests.harness.chaos import Installation
from tests.harness.peers import REPOSITORY, Sekmet

SEKMET = REPOSITORY / ".peers" / "sekmet-fhir" / "bin" / "python"
_AT_ONCE = 100  #: patients decoded before the clock runs
_EXPORT_SECS = 900


@dataclass(frozen=True, slots=True)
class Loaded:
    """How long a load took, without what made the data."""

    observations: int
    resources: int
    seconds: float


class Ours:
    """Our endpoint: filled through the target that the gateway's own publisher uses, served by the whole daemon."""

    def __init__(self, name: str, directory: Path, url: str | None = None) -> None:
        self.name = name
        self._directory = directory
        self._url = url

    @property
    def store_url(self) -> str:
        return self._url or f"sqlite:///{self._directory / 'data' / 'store.db'}"

    def load(self, people: Iterable[Person]) -> Loaded:
        """Two transactions per patient, as the publisher sends them: the study, then the facts."""
        loaded = load(self.store_url, people)
        if self._url:  # what PostgreSQL does by itself within minutes
            engine = sqlalchemy.create_engine(self._url)
            with engine.begin() as connection:
                connection.exec_driver_sql("ANALYZE")
            engine.dispose()
        return loaded

    @contextmanager
    def running(self) -> Iterator[str]:
        settings = {"web": {"fhir_write": "loopback"}, **({"store": {"url": self._url}} if self._url else {})}
        with Installation(self._directory, settings=settings) as daemon:
            yield daemon.fhir_url


def load(url: str, people: Iterable[Person], parts: Sequence[int] = (0, 1)) -> Loaded:
    """``parts``: 0 the transaction of the study, 1 that of the facts."""
    (Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite") else Path("/")).mkdir(parents=True, exist_ok=True)
    store = FhirStore(url)
    target = EmbeddedTarget(store)
    observations = resources = 0
    seconds = 0.0
    try:
        for sent in _batches(people, parts):
            started = time.monotonic()
            for bundle in sent:
                target.send(bundle)
            seconds += time.monotonic() - started
            kinds = [one["resourceType"] for bundle in sent for one in resources_of(bundle)]
            observations += kinds.count("Observation")
            resources += len(kinds)
    finally:
        store.close()
    return Loaded(observations, resources, seconds)


def _batches(people: Iterable[Person], parts: Sequence[int]) -> Iterator[list[JsonObject]]:
    waiting: list[JsonObject] = []
    for person in people:
        both = bundles(person)
        waiting += [both[part] for part in parts]
        if len(waiting) >= _AT_ONCE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


class Peer:
    """sekmet-fhir 0.1.1, with its log of traffic off. Filled by its own Store in big transactions: over HTTP it would take too long."""

    name = "sekmet-fhir"

    def __init__(self, directory: Path) -> None:
        self._server = Sekmet(directory)
        self._database = directory / "data" / "sekmet.db"
        self._lines = directory / "resources.ndjson"
        self._loading: subprocess.Popen[str]
        self._written = (0, 0)  #: Observations, resources

    @property
    def present(self) -> bool:
        return SEKMET.exists()

    def begin_load(self, people: Iterable[Person]) -> None:
        """Writes the resources to a file, and begins to load it in sekmet's own process: it takes minutes."""
        self._database.parent.mkdir(parents=True, exist_ok=True)
        seen: set[str] = set()
        observations = 0
        with self._lines.open("wb") as file:
            for sent in _batches(people, (0, 1)):
                for resource in (one for bundle in sent for one in resources_of(bundle)):
                    name = f"{resource['resourceType']}/{resource['id']}"
                    if name not in seen:  # it would make a version of every repetition
                        seen.add(name)
                        observations += resource["resourceType"] == "Observation"
                        file.write(encode(resource) + b"\n")
        script = Path(__file__).parent / "peers" / "load_sekmet.py"
        self._loading = subprocess.Popen([SEKMET, script, self._database, self._lines], stdout=subprocess.PIPE, text=True)
        self._written = observations, len(seen)

    def end_load(self) -> Loaded:
        told, _ = self._loading.communicate()
        assert self._loading.returncode == 0, "sekmet could not be filled"
        self._lines.unlink()
        return Loaded(*self._written, float(told))

    @contextmanager
    def running(self) -> Iterator[str]:
        with self._server:
            yield self._server.fhir_url


def load_over_http(fhir_url: str, people: Iterable[Person]) -> Loaded:
    """The same transactions, posted by one client."""
    observations = resources = 0
    seconds = 0.0
    with requests.Session() as session:
        for sent in _batches(people, (0, 1)):
            posted = [encode(bundle) for bundle in sent]
            started = time.monotonic()
            for body in posted:
                answer = session.post(fhir_url, data=body, headers={"Content-Type": "application/fhir+json"}, timeout=120)
                assert answer.ok, answer.text[:600]
            seconds += time.monotonic() - started
            kinds = [one["resourceType"] for bundle in sent for one in resources_of(bundle)]
            observations += kinds.count("Observation")
            resources += len(kinds)
    return Loaded(observations, resources, seconds)


def export(fhir_url: str) -> Loaded:
    """All Observations by ``$export``, from the request to the manifest; then every file is fetched and its lines are counted."""
    started = time.monotonic()
    ordered = requests.get(f"{fhir_url}/$export?_type=Observation", headers={"Prefer": "respond-async"}, timeout=60)
    assert ordered.status_code == 202, ordered.text[:600]
    while (answer := requests.get(ordered.headers["Content-Location"], timeout=60)).status_code == 202:
        assert time.monotonic() - started < _EXPORT_SECS, "the export does not end"
        time.sleep(0.05)
    seconds = time.monotonic() - started
    assert answer.ok, answer.text[:600]
    count = sum(requests.get(one["url"], timeout=60).content.count(b"\n") for one in answer.json()["output"])
    return Loaded(count, count, seconds)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database in a private cluster, which is gone afterwards."""
    with ExitStack() as stack:
        yield stack.enter_context(postgres.database(stack.enter_context(postgres.server())))
