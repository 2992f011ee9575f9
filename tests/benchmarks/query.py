"""How fast is the FHIR endpoint? Twelve questions, loading and export: ours on SQLite and on PostgreSQL against sekmet-fhir, in one run."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
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


def run(observations: int, runs: int, seconds: float) -> int:
    """``observations`` and a fiftieth of it ImagingStudies, of which a twentieth has 500 instances."""
    studies = max(observations // 50, 20)
    large = max(studies // 20, 2)
    print(f"query: {observations} Observations, {studies} ImagingStudies ({large} with 500 instances); {CLIENTS} clients")
    print(machine())
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-query-")))
        print(_large_studies(directory, runs), flush=True)
        sqlite = servers.Ours("Isobridge, SQLite", directory / "sqlite")
        postgres = servers.Ours("Isobridge, PostgreSQL", directory / "postgres", stack.enter_context(servers.postgresql()))
        compared: list[servers.Ours | servers.Peer] = [sqlite, postgres]
        peer = servers.Peer(directory / "sekmet")
        if peer.present:
            compared.append(peer)
        for server in compared:
            loaded = server.load(people(studies, large))
            print(
                f"load: {server.name}: {loaded.resources / loaded.seconds:.0f} resources/s, {loaded.observations} Observations "
                f"at {loaded.observations / loaded.seconds:.0f}/s, {loaded.seconds:.1f} s",
                flush=True,
            )
        urls = {server.name: stack.enter_context(server.running()) for server in compared}
        print(_questions(urls, list(people(studies, large)), runs, seconds), flush=True)
        for name, url in urls.items():
            done = servers.export(url)
            print(f"export: {name}: {done.observations} Observations at {done.observations / done.seconds:.0f}/s", flush=True)
        more = list(people(studies + _POSTED, 0))[studies:]
        for name, url in urls.items():
            done = servers.load_over_http(url, more)
            print(f"posted by one client: {name}: {done.observations / done.seconds:.0f} Observations/s", flush=True)
    return 0


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
        _check(question, urls, paths[:: max(1, len(paths) // 5)])
        found: dict[str, list[Measured]] = {name: [] for name in urls}
        for number in range(runs):
            for name, url in urls.items():
                found[name].append(measure(url, paths, clients=CLIENTS, seconds=seconds, first=number * 97))
        rates = {name: statistics.median(one.rate for one in runs_of) for name, runs_of in found.items()}
        cells = [question.name]
        for name, runs_of in found.items():
            half, most = (statistics.median(one.percentile_ms(percent) for one in runs_of) for percent in (50, 95))
            ratio = f"{rates[name] / rates[servers.Peer.name]:.1f}" if servers.Peer.name in rates else "-"
            cells += [f"{rates[name]:.0f}", f"{half:.1f}", f"{most:.1f}", ratio]
        rows.append(cells)
        print("  ".join(cells), flush=True)
    return table(header, rows)


def _check(question: Question, urls: dict[str, str], paths: Sequence[str]) -> None:
    """All servers find the same: a fast wrong answer is none."""
    for path in paths:
        totals = {name: requests.get(f"{url}/{path}", timeout=120).json()["total"] for name, url in urls.items()}
        if len(set(totals.values())) > 1:
            print(f"  {question.name}: the servers differ: {totals} {path}")
