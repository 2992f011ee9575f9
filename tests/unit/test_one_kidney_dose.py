"""Four SPECT studies, a dose report and a table, in all 720 orders of arrival: one administration, one dose of the left kidney."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.model import Dossier, SharedFields
from gateway.tables.placing import ToPlace, place
from gateway.tables.records import record_of
from gateway.understanding import Understanding, understanding
from gateway.workbench.sample import generate_cycle
from gateway.workbench.sample_therapy import write_dosimetry_table

ROOT = Path(__file__).resolve().parents[2]
TABLE = "table"


@dataclasses.dataclass(frozen=True)
class Sources:
    site: Understanding
    patient_key: str
    records: dict[str, SharedFields]
    parts: tuple[ToPlace, ...]
    gathered: dict[Any, Dossier] = dataclasses.field(default_factory=dict)  #: by what is there and what was minted before


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    directory = tmp_path_factory.mktemp("cycle")
    site = understanding(
        config.load(None, overrides=[f"data.directory={directory / 'data'}"]).settings, directory=ROOT / "mappings"
    )
    studies = generate_cycle(directory / "studies", slices=4)
    records = {str(study.directory): site.read(study.files[0]).shared for study in studies}
    report = records[str(studies[0].directory)]
    # The report's own predicted organ doses are other facts; here only what the table measured counts.
    records[str(studies[0].directory)] = dataclasses.replace(report, results=())
    table = write_dosimetry_table(directory / "table.csv", [studies[0]])
    read = site.adapters.read(table.read_bytes(), table.name, site.site.timezone)
    parts = tuple(
        ToPlace(
            id=number,
            fields=record_of(part, read.adapter, "00" * 32, "2026-04-01T08:00:00+00:00"),
            administration_id=None,
            cycle=None,
        )
        for number, part in enumerate(read.parts)
    )
    return Sources(site=site, patient_key=site.patients.of(report), records=records, parts=parts)


def arrive(sources: Sources, here: frozenset[str], known: dict[str, str], known_results: dict[str, str]) -> Dossier | None:
    """The dossier when these sources are there, with what was minted before."""
    records = [record for name, record in sorted(sources.records.items()) if name in here]
    if not records:
        return None  # a table alone makes no patient
    key = (here, tuple(sorted(known.items())), tuple(sorted(known_results.items())))
    if key not in sources.gathered:
        sources.gathered[key] = gather(sources, here, records, known, known_results)
    return sources.gathered[key]


def gather(
    sources: Sources, here: frozenset[str], records: list[SharedFields], known: dict[str, str], known_results: dict[str, str]
) -> Dossier:
    alone = sources.site.dossier(sources.patient_key, records, known, {})
    if TABLE in here:
        placed = place(sources.parts, alone.administrations, alone.replaced, sources.site.mappings.codes)
        records = [*records, *placed.records]
    return sources.site.dossier(sources.patient_key, records, known, {}, known_results=known_results)


def in_all_orders(
    sources: Sources, here: frozenset[str], known: dict[str, str], known_results: dict[str, str]
) -> Iterator[Dossier]:
    """The last dossier of every order, each arrival gathered on its own as the ledger would; orders with one beginning share it."""
    rest = {*sources.records, TABLE} - here
    for name in sorted(rest):
        now = here | {name}
        dossier = arrive(sources, now, known, known_results)
        if dossier is None:
            yield from in_all_orders(sources, now, known, known_results)
        elif len(rest) == 1:
            yield dossier
        else:
            yield from in_all_orders(sources, now, {**known, **dossier.minted}, {**known_results, **dossier.minted_results})


def told(dossier: Dossier) -> Any:
    """What is said, without ids."""
    doses = [item for item in dossier.results if item.kind == "organ-absorbed-dose"]
    return (
        [(item.fields["activity"]["value"], item.fields["started_at"], len(item.study_uids)) for item in dossier.administrations],
        sorted((item.fields["laterality"]["text"], item.fields["value"]["value"]) for item in doses),
        {item.administration for item in doses} == {item.key for item in dossier.administrations},
    )


def test_in_all_orders_they_are_one_administration_and_one_kidney_dose_a_side(sources: Sources) -> None:
    orders = list(in_all_orders(sources, frozenset(), {}, {}))
    assert len(orders) == 720
    first = told(orders[0])
    assert first[0] == [(orders[0].administrations[0].fields["activity"]["value"], first[0][0][1], 5)]
    assert [side for side, _ in first[1]] == ["Left", "Right"]
    assert first[2]
    assert all(told(dossier) == first for dossier in orders)
