"""How fast is the FHIR endpoint? Twelve questions, loading and export: ours on SQLite and on PostgreSQL against sekmet-fhir, in one run.

The run comes to its end with a whole table: what a server refuses, cuts off or does not answer in time is counted and told.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import requests

from tests.benchmarks import query_servers as servers
from tests.benchmarks.measure import machine, table
from tests.benchmarks.queries import QUESTIONS, Question
from tests.benchmarks.query_client import Measured, measure
from tests.benchmarks.query_data import Person, people

CLIENTS = 8
MOST_RUNS = 3
_POSTED = 20  #: patients whose transactions are posted, to compare writing over HTTP
_ASKED_OF = 400  #: patients that the questions are about
_CHECKS = 5  #: addresses of a question at which the servers must agree
_CHECK_SECS = 10.0  #: a server that has spent so much on them is not asked further
_RUN_SECS = 8.0  #: a server that needs longer for eight answers has fewer clients, and one run
_FAILED = (requests.RequestException, AssertionError, KeyError, ValueError)


def run(observations: int, runs: int, seconds: float) -> int:
    """``observations`` and a fiftieth of it ImagingStudies, of which a twentieth has 500 instances."""
    studies = max(observations // 50, 20)
    large = max(studies // 20, 2)
    began = time.monotonic()
    print(f"query: {observations} Observations, {studies} ImagingStudies ({large} with 500 instances); {CLIENTS} clients")
    print(machine())
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-query-")))
        print(_large_studies(directory, runs), flush=True)
        sqlite = servers.Ours("Isobridge, SQLite", directory / "sqlite")
        postgres = servers.Ours("Isobridge, PostgreSQL", directory / "postgres", stack.enter_context(servers.postgresql()))
        peer = servers.Peer(directory / "sekmet")
        _load(sqlite, postgres, peer, studies, large)
        compared: list[servers.Ours | servers.Peer] = [sqlite, postgres, *([peer] if peer.present else [])]
        urls = {server.name: stack.enter_context(server.running()) for server in compared}
        print(f"ready after {time.monotonic() - began:.0f} s", flush=True)
        print(_questions(urls, list(people(studies, large)), runs, seconds), flush=True)
        for name, url in urls.items():
            _tell(f"export: {name}", partial(servers.export, url))
        more = list(people(studies + _POSTED, 0))[studies:]
        for name, url in urls.items():
            _tell(f"posted by one client: {name}", partial(servers.load_over_http, url, more))
    print(f"the whole took {time.monotonic() - began:.0f} s")
    return 0


def _load(sqlite: servers.Ours, postgres: servers.Ours, peer: servers.Peer, studies: int, large: int) -> None:
    """SQLite alone, for its figure is the one that matters; then PostgreSQL and the peer side by side, for it takes minutes."""
    _told(sqlite, sqlite.load(people(studies, large)))
    if peer.present:
        peer.begin_load(people(studies, large))
    _told(postgres, postgres.load(people(studies, large)))
    if peer.present:
        _told(peer, peer.end_load())


def _told(server: servers.Ours | servers.Peer, loaded: servers.Loaded) -> None:
    print(
        f"load: {server.name}: {loaded.resources / loaded.seconds:.0f} resources/s, {loaded.observations} Observations "
        f"at {loaded.observations / loaded.seconds:.0f}/s, {loaded.seconds:.1f} s",
        flush=True,
    )


def _tell(what: str, work: Callable[[], servers.Loaded]) -> None:
    try:
        done = work()
    except _FAILED as error:
        print(f"{what}: failed ({type(error).__name__})", flush=True)
        return
    print(f"{what}: {done.observations} Observations at {done.observations / done.seconds:.0f}/s", flush=True)


def _large_studies(directory: Path, runs: int) -> str:
    """One transaction a study, into an empty store."""
    chosen = list(people(400, 400))
    rates = []
    for number in range(runs):
        loaded = servers.load(f"sqlite:///{directory / f'large-{number}.db'}", chosen, parts=(0,))
        rates.append(len(chosen) / loaded.seconds)
    return (
        f"load: Isobridge, SQLite: {statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f}) studies of 500 instances/s"
    )


def _questions(urls: dict[str, str], holdings: Sequence[Person], runs: int, seconds: float) -> str:
    asked = holdings[:: max(1, len(holdings) // _ASKED_OF)]
    header = ["question", *(cell for name in urls for cell in (f"{name} /s", "p50 ms", "p95 ms", "times sekmet"))]
    rows = []
    for question in QUESTIONS:
        paths = question.paths(asked)
        clients = {name: _clients(secs) for name, secs in _check(question, urls, paths).items()}
        found: dict[str, list[Measured]] = {name: [] for name in urls}
        for number in range(runs):
            for name, url in urls.items():
                if number == 0 or clients[name] == CLIENTS:
                    found[name].append(measure(url, paths, clients=clients[name], seconds=seconds, first=number * 97))
        rows.append([question.name, *_cells(found, clients)])
        print("  ".join(rows[-1]), flush=True)
    return table(header, rows)


def _cells(found: dict[str, list[Measured]], clients: dict[str, int]) -> list[str]:
    rates = {name: statistics.median(one.rate for one in runs_of) for name, runs_of in found.items()}
    peer = rates.get(servers.Peer.name, 0.0)
    cells = []
    for name, runs_of in found.items():
        half, most = (statistics.median(one.percentile_ms(percent) for one in runs_of) for percent in (50, 95))
        failed = sum(one.failed for one in runs_of)
        remarks = [f"{clients[name]} clients"] * (clients[name] != CLIENTS) + [f"{failed} failed"] * (failed > 0)
        rate = f"{rates[name]:.0f}" if rates[name] >= 10 else f"{rates[name]:.2g}"
        told = f"{rate} ({', '.join(remarks)})" if remarks else rate
        cells += [told, f"{half:.1f}", f"{most:.1f}", f"{rates[name] / peer:.1f}" if peer else "-"]
    return cells


def _clients(secs: float) -> int:
    """So many that a run does not take much longer than it should, at a server that does one thing after the other."""
    return max(1, min(CLIENTS, int(_RUN_SECS / secs)))


def _check(question: Question, urls: dict[str, str], paths: Sequence[str]) -> dict[str, float]:
    """All servers find the same: a fast wrong answer is none. Returns the seconds of an answer to a single client, by server."""
    spent: dict[str, list[float]] = {name: [] for name in urls}
    for path in paths[:: max(1, len(paths) // _CHECKS)]:
        totals = {}
        for name, url in urls.items():
            if sum(spent[name]) >= _CHECK_SECS:
                continue
            started = time.monotonic()
            try:
                totals[name] = requests.get(f"{url}/{path}", timeout=120).json()["total"]
            except _FAILED as error:
                print(f"  {question.name}: {name}: {type(error).__name__} {path}", flush=True)
            spent[name].append(time.monotonic() - started)
        if len(set(totals.values())) > 1:
            print(f"  {question.name}: the servers differ: {totals} {path}", flush=True)
    return {name: statistics.median(secs) for name, secs in spent.items()}
