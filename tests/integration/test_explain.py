"""The table "where every value comes from": what is published is never said not to be, and what is not there is not listed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.model import Json
from gateway.r4.bundles import resources_of
from gateway.web import show
from gateway.web.explain import Row, explain
from tests.builders import pet
from tests.web_site import Site

STUDY = str(pet().StudyInstanceUID)
EVENT = "2.25.5001"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("site"))
    scan = pet(
        PatientName="Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", SpecificCharacterSet="ISO_IR 192", IssuerOfPatientID="Ward 3",
        BodyPartExamined="CHEST", Laterality="L",
    )  # fmt: skip
    injection = scan.RadiopharmaceuticalInformationSequence[0]
    injection.RadiopharmaceuticalStopDateTime = injection.RadiopharmaceuticalStopTime = None
    injection.RadiopharmaceuticalAdministrationEventUID = EVENT
    running.put(scan)
    running.work()
    yield running
    running.close()


@pytest.fixture(scope="module")
def rows(site: Site) -> dict[str, Row]:
    facts = site.ledger.studies.facts(STUDY)
    assert facts is not None
    header = facts.headers[0]
    file = site.files.locate(header.day, header.digest)
    groups = explain(header.fields, file, site.understanding.mappings, (facts.bundle, facts.dossier))
    return {row.name: row for group in groups for row in group.rows}


def leaves(value: Json) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield show.fhir(value)


def test_a_published_value_never_reads_as_not_published(site: Site, rows: dict[str, Row]) -> None:
    facts = site.ledger.studies.facts(STUDY)
    assert facts is not None
    bundles = [bundle for bundle in (facts.bundle, facts.dossier) if bundle]
    texts = {text for bundle in bundles for item in resources_of(bundle) for text in leaves(item)}
    said_empty = {name: row for name, row in rows.items() if row.published and not any(item.value for item in row.published)}
    assert {name: row.understood for name, row in said_empty.items() if row.understood in texts} == {}
    assert all(item.value for row in rows.values() for item in row.published if row not in said_empty.values())


def test_a_time_under_a_condition_is_found_at_the_element_it_has_in_fhir(rows: dict[str, Row]) -> None:
    published = {item.element: item.value for item in rows["administration.started_at"].published}
    assert published["MedicationAdministration.effectiveDateTime"] == rows["administration.started_at"].understood
    assert not [element for element in published if element.endswith(".is") or "effectivePeriod" in element]


def test_the_event_uid_is_found_among_the_identifiers(rows: dict[str, Row]) -> None:
    (published,) = rows["administration.event_uid"].published
    assert (published.element, published.value) == ("MedicationAdministration.identifier.value", f"urn:oid:{EVENT}")


def test_the_parts_of_a_name_that_the_header_has_are_listed_and_no_others(rows: dict[str, Row]) -> None:
    published = {(item.element, item.value) for item in rows["patient.name"].published}
    assert ("Patient.name.family", "Yamada") in published
    assert ("Patient.name.family", "\u5c71\u7530") in published
    assert not {element for element, _ in published} & {"Patient.name.prefix", "Patient.name.suffix"}


def test_the_issuer_of_an_id_is_published_as_its_system(rows: dict[str, Row]) -> None:
    assert [item.element for item in rows["patient.id_system"].published] == ["Patient.identifier.system"]
