"""Our profiles over HTTP: read, found by url, name, version and status, named in the CapabilityStatement, the same after every start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.fhir.profiles import PROFILES
from gateway.fhir.radiation_dose_summary import RDS
from gateway.r4.canonical import encode
from gateway.r4.published import as_transaction, published
from gateway.store import FhirStore
from tests.integration.test_fhir_rest import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = FhirStore(f"sqlite:///{Path(tmp_path_factory.mktemp('store')) / 'store.db'}")
    store.transact(as_transaction())
    running = Server(store)
    yield running
    running.stop()
    store.close()


def found(server: Server, path: str, **parameters: str) -> list[str]:
    answer = server.get(path, params={**parameters, "_count": "200"})
    answer.raise_for_status()
    entries = answer.json().get("entry", ())
    return [entry["resource"]["id"] for entry in entries if entry["resource"]["resourceType"] != "OperationOutcome"]


@pytest.mark.parametrize("kind", ["StructureDefinition", "CodeSystem", "ValueSet", "SearchParameter", "ConceptMap"])
def test_every_definition_is_read_and_found_by_what_names_it(server: Server, kind: str) -> None:
    own = [one for one in published() if one["resourceType"] == kind]
    assert own
    for one in own:
        read: dict[str, Any] = server.get(f"{kind}/{one['id']}").json()
        read.pop("meta", None)
        assert read == json.loads(encode(one))
        assert found(server, kind, url=one["url"]) == [one["id"]]
        assert one["id"] in found(server, kind, name=one["name"])
    assert sorted(found(server, kind, status="active", version="1.0.0")) == sorted(one["id"] for one in own)
    assert found(server, kind, version="0.9") == []
    assert server.get(f"{kind}/nothing").status_code == 404


def test_the_statement_names_the_profiles(server: Server) -> None:
    resources = {one["type"]: one for one in server.get("metadata").json()["rest"][0]["resource"]}
    assert {*(profile.url for profile in PROFILES.values()), RDS} == set(resources["Observation"]["supportedProfile"])
    assert {one["name"] for one in resources["ConceptMap"]["searchParam"]} >= {"url", "name", "version", "status"}


def test_a_concept_map_is_searched_by_nothing_else(server: Server) -> None:
    assert server.get("ConceptMap", params={"dependson": "x"}).status_code == 400


def test_another_start_makes_no_new_version(server: Server) -> None:
    server.store.transact(as_transaction())
    assert [stored.version for stored in server.store.history("StructureDefinition", "nm-bed")] == [1]
