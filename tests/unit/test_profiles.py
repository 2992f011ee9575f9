"""Our profiles: the published JSON is what the tables write; real instances fulfil it by a checker that knows only the JSON."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fhirpathpy
import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhirpathpy.models import models

from gateway.fhir.profiles import PROFILES, claimed
from gateway.fhir.radiation_dose_summary import RDS, lacks_of_summary
from gateway.nuclear.results import CODE_SYSTEM, KINDS, WORDS
from gateway.r4.canonical import encode
from gateway.r4.published import published
from gateway.r4.validate import validate
from gateway.workbench.definitions import FOLDER, definitions, file_name, text_of
from gateway.workbench.profile_examples import examples
from gateway.workbench.profile_guide import pages
from gateway.workbench.snapshots import bases, snapshot

ROOT = Path(__file__).resolve().parents[2]
BY_URL = {one["url"]: one for one in published()}
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/bundle.json"))


def test_the_published_files_are_what_the_tables_write() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == {
        file_name(one): text_of(one) for one in definitions()
    }, "run: make profiles"


def test_the_guide_pages_are_what_tables_and_templates_write() -> None:
    written = {path.name: path.read_text() for path in (ROOT / "docs" / "profiles").glob("*.md")}
    assert written == pages(ROOT / "mappings"), "run: make profiles"


@pytest.mark.parametrize("one", published(), ids=lambda one: f"{one['resourceType']}-{one['id']}")
def test_a_definition_is_valid_r4_for_us_and_for_an_independent_library(one: dict[str, Any]) -> None:
    if one["resourceType"] != "ConceptMap":  # a type that our own schema does not hold
        assert validate(one) == []
    get_fhir_model_class(one["resourceType"]).model_validate(json.loads(encode(one)))


def test_every_kind_with_a_profile_has_it_and_every_code_that_mappings_write_is_defined() -> None:
    codes = {concept["code"] for concept in BY_URL[CODE_SYSTEM]["concept"]}
    assert {kind.profile for kind in KINDS.values() if kind.profile} <= set(PROFILES)
    assert set(KINDS) | {word for words in WORDS.values() for word in words} <= codes
    text = "".join(path.read_text() for path in sorted((ROOT / "mappings").rglob("*.yaml")))
    written = set(re.findall(r'CodeSystem/nm-dosimetry"?, code: ([a-z0-9-]+)', text))
    assert len(written) > 30
    assert written <= codes


def test_every_value_set_that_a_profile_binds_to_is_published_and_its_codes_are_defined() -> None:
    bound = {
        element["binding"]["valueSet"]
        for one in published()
        if one["resourceType"] == "StructureDefinition"
        for element in one["differential"]["element"]
        if "binding" in element
    }
    assert bound
    assert bound <= set(BY_URL)
    for url in bound:
        (include,) = BY_URL[url]["compose"]["include"]
        defined = {concept["code"] for concept in BY_URL[include["system"]]["concept"]}
        assert {concept["code"] for concept in include.get("concept", ())} <= defined


# -- instances ----------------------------------------------------------------------------------------------------------------------


def instances() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in sorted(examples(ROOT / "mappings").items()):
        yield f"example {name}", json.loads(encode(resource))
    for path in GOLDEN:
        for bundle in json.loads(path.read_text()):
            for entry in bundle["entry"]:
                if entry["resource"].get("meta", {}).get("profile"):
                    yield f"{path.parent.name} {entry['resource']['id']}", entry["resource"]


INSTANCES = dict(instances())


def test_there_is_an_instance_of_every_profile() -> None:
    claims = {url for resource in INSTANCES.values() for url in resource["meta"]["profile"]}
    assert {profile.url for profile in PROFILES.values()} <= claims
    assert set(examples(ROOT / "mappings")) == set(PROFILES)


@pytest.mark.parametrize("resource", INSTANCES.values(), ids=INSTANCES)
def test_an_instance_fulfils_the_profile_that_it_claims(resource: dict[str, Any]) -> None:
    assert validate(resource) == []
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    for url in resource["meta"]["profile"]:
        if url != RDS:
            assert list(complaints(resource, BY_URL[url])) == []
            assert list(complaints(resource, BY_URL[url], "snapshot")) == []


@pytest.mark.parametrize("name", sorted(examples(ROOT / "mappings")))
def test_what_a_profile_requires_is_noticed_when_it_is_gone_by_both(name: str) -> None:
    """Each required element taken away in turn: the resource claims the profile no more, and the independent checker complains."""
    whole = json.loads(encode(examples(ROOT / "mappings")[name]))
    definition = BY_URL[PROFILES[name].url]
    required = [
        element["id"].removeprefix("Observation.")
        for element in definition["differential"]["element"]
        if element.get("min") and element["id"].count(".") == 1
    ]
    assert "subject" in required
    for place in required:
        broken = without(whole, definition, place)
        assert list(complaints(broken, definition)), place
        assert claimed({**broken, "meta": {}}).get("meta", {}).get("profile") != [PROFILES[name].url], place


# -- snapshots ----------------------------------------------------------------------------------------------------------------------

STRUCTURES = [one for one in published() if one["resourceType"] == "StructureDefinition"]


@pytest.mark.parametrize("one", STRUCTURES, ids=lambda one: str(one["id"]))
def test_a_snapshot_holds_its_base_and_its_differential(one: dict[str, Any]) -> None:
    whole, told = one["snapshot"]["element"], one["differential"]["element"]
    ids = [element["id"] for element in whole]
    assert len(ids) == len(set(ids))
    assert [i for i in ids if i in {element["id"] for element in bases()[one["type"]]}] == [e["id"] for e in bases()[one["type"]]]
    for element in whole:  # R4 StructureDefinition, invariants sdf-3, sdf-8a, sdf-8b, sdf-10 and eld-2
        assert {"definition", "min", "max", "base"} <= set(element), element["id"]
        assert element["path"].partition(".")[0] == one["type"]
        assert element["path"] == ".".join(step.partition(":")[0] for step in element["id"].split("."))
        assert element["max"] == "*" or element["min"] <= int(element["max"])
        assert "type" in element or "contentReference" in element or element["path"] == one["type"]
        assert ("sliceName" in element) == (":" in element["id"].rpartition(".")[2])
    by_id = {element["id"]: element for element in whole}
    for element in told:
        for name, value in element.items():
            merged = by_id[element["id"]][name]
            assert (value == merged) if name != "constraint" else all(rule in merged for rule in value)
    for place in (i for i in ids if ":" in i.rpartition(".")[2]):  # a slice stands behind what it slices, with the same children
        sliced = place.rpartition(":")[0]
        assert ids.index(sliced) < ids.index(place)
        names = {i.removeprefix(f"{sliced}.") for i in ids if i.startswith(f"{sliced}.") and ":" not in i.removeprefix(sliced)}
        assert names <= {i.removeprefix(f"{place}.") for i in ids if i.startswith(f"{place}.")}


def test_a_snapshot_requires_what_the_base_requires() -> None:
    definition = BY_URL[PROFILES["nm-bed"].url]
    whole = json.loads(encode(examples(ROOT / "mappings")["nm-bed"]))
    del whole["status"]
    assert list(complaints(whole, definition)) == []
    assert list(complaints(whole, definition, "snapshot")) == ["Observation.status: 0 found"]


def test_a_differential_of_an_element_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no element Observation\.bodysite"):
        snapshot("Observation", [{"id": "Observation.bodysite", "path": "Observation.bodysite", "min": 1}])


def without(whole: dict[str, Any], definition: dict[str, Any], place: str) -> dict[str, Any]:
    broken = copy.deepcopy(whole)
    name, _, part = place.partition(":")
    if name == "component":
        pattern = next(e for e in definition["differential"]["element"] if e["id"] == f"Observation.component:{part}.code")
        broken["component"] = [one for one in broken["component"] if not fits(one["code"], pattern["patternCodeableConcept"])]
    else:
        broken.pop("effectiveDateTime" if name == "effective[x]" else name)
    return broken


# -- a small checker of differentials: it knows FHIR profiling (R4 profiling.html), and nothing of our tables --------------------------


def complaints(resource: dict[str, Any], definition: dict[str, Any], view: str = "differential") -> Iterator[str]:
    elements = definition[view]["element"]
    for rule in elements[0].get("constraint", ()):
        if rule["key"].startswith("dom-"):
            continue  # those of every resource: our own validator knows them
        if fhirpathpy.evaluate(resource, rule["expression"], {"resource": resource}, models["r4"]) not in ([True], True):
            yield rule["key"]
    for element in elements[1:]:
        yield from _complaints(resource, element, elements)


def _complaints(resource: dict[str, Any], element: dict[str, Any], elements: list[dict[str, Any]]) -> Iterator[str]:
    parents, name = element["id"].rsplit(".", 1)
    for parent in select(resource, parents, elements):
        found = children(parent, name, f"{parents}.{name}", elements)
        many = len(found)
        if many < element.get("min", 0) or (element.get("max", "*") != "*" and many > int(element["max"])):
            yield f"{element['id']}: {many} found"
        for value in found:
            yield from _of_value(value, element)


def _of_value(value: Any, element: dict[str, Any]) -> Iterator[str]:
    for key, wanted in element.items():
        if key.startswith("pattern") and not fits(value, wanted):
            yield f"{element['id']}: does not fit the pattern"
        if key.startswith("fixed") and value != wanted:
            yield f"{element['id']}: is not {wanted}"
    if element.get("binding", {}).get("strength") == "required" and element["binding"]["valueSet"] in BY_URL:
        codes = [one.get("code") for one in (value.get("coding", [value]) if isinstance(value, dict) else [{"code": value}])]
        allowed = allowed_by(element["binding"]["valueSet"])
        if not any(code in allowed for code in codes):
            yield f"{element['id']}: is not in its value set"
    targets = [url.rpartition("/")[2] for kind in element.get("type", ()) for url in kind.get("targetProfile", ())]
    if targets and "Resource" not in targets and "reference" in value and value["reference"].partition("/")[0] not in targets:
        yield f"{element['id']}: refers to something else"


def allowed_by(value_set: str) -> set[str]:
    (include,) = BY_URL[value_set]["compose"]["include"]
    listed = include.get("concept") or BY_URL[include["system"]]["concept"]
    return {concept["code"] for concept in listed}


def select(resource: dict[str, Any], identifier: str, elements: list[dict[str, Any]]) -> list[Any]:
    steps = identifier.split(".")[1:]
    nodes: list[Any] = [resource]
    path = "Observation"
    for step in steps:
        path = f"{path}.{step}"
        nodes = [child for node in nodes for child in children(node, step, path, elements)]
    return nodes


def children(node: Any, step: str, path: str, elements: list[dict[str, Any]]) -> list[Any]:
    name, _, part = step.partition(":")
    if name.endswith("[x]"):
        found = [value for key, value in node.items() if re.fullmatch(name[:-3] + "[A-Z].*", key)]
        _check_type(node, name, path, elements)
        return found
    value = node.get(name, [])
    found = value if isinstance(value, list) else [value]
    return [one for one in found if in_slice(one, path, elements)] if part else found


def _check_type(node: dict[str, Any], name: str, path: str, elements: list[dict[str, Any]]) -> None:
    """A choice of a type that the profile does not allow."""
    element = next((one for one in elements if one["id"] == path), {})
    types = {kind["code"][0].upper() + kind["code"][1:] for kind in element.get("type", ())}
    keys = {key.removeprefix(name[:-3]) for key in node if re.fullmatch(name[:-3] + "[A-Z].*", key)}
    assert not types or keys <= types, f"{path}: {keys}"


def in_slice(one: Any, path: str, elements: list[dict[str, Any]]) -> bool:
    """Whether an entry of a list belongs to a slice, by its fixed or patterned parts, or by what it refers to."""
    own = [element for element in elements if element["id"] == path or element["id"].rpartition(".")[0] == path]
    for element in own:
        rest = element["id"].removeprefix(path).lstrip(".")
        value = one.get(rest) if rest else one
        if rest and any(key.startswith(("pattern", "fixed")) for key in element):
            wanted = next(value for key, value in element.items() if key.startswith(("pattern", "fixed")))
            if value is None or not fits(value, wanted):
                return False
        targets = [url.rpartition("/")[2] for kind in element.get("type", ()) for url in kind.get("targetProfile", ())]
        if not rest and targets and "Resource" not in targets and one["reference"].partition("/")[0] not in targets:
            return False
        extensions = [url for kind in element.get("type", ()) for url in kind.get("profile", ())]
        if not rest and extensions and one["url"] not in extensions:
            return False
    return True


def fits(value: Any, pattern: Any) -> bool:
    """R4 elementdefinition: everything in the pattern is in the value; entries of lists in any order."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(fits(value.get(key), wanted) for key, wanted in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(fits(one, wanted) for one in value) for wanted in pattern)
    return bool(value == pattern)


# -- HL7's Radiation Dose Summary ----------------------------------------------------------------------------------------------------


def summary() -> dict[str, Any]:
    """Our own example with the person who authorised it."""
    own = json.loads(encode(examples(ROOT / "mappings")["nm-radiation-dose-summary"]))
    return {**own, "meta": {}, "performer": [{"reference": "Practitioner/p"}]}


def test_without_somebody_who_authorised_it_the_summary_is_ours_with_one_it_is_that_of_hl7() -> None:
    own = examples(ROOT / "mappings")["nm-radiation-dose-summary"]
    assert list(lacks_of_summary(own)) == ["performer:irradiationAuthorizingPerson"]
    assert claimed(summary())["meta"]["profile"] == [RDS]


@pytest.mark.parametrize(
    ("element", "broken"),
    [
        ("code", {"coding": [{"system": "http://loinc.org", "code": "1-8"}]}),
        ("partOf", []),
        ("partOf", [{"reference": "ImagingStudy/a"}]),
        ("partOf", [{"reference": "MedicationAdministration/a"}]),
        ("focus", []),
        ("focus", [{"reference": "Patient/a"}]),
        ("subject", {}),
        ("performer", [{"display": "Somebody"}]),
        ("performer", [{"reference": "Practitioner/a"}, {"reference": "Practitioner/b"}]),
        ("performer", [{"reference": "Organization/a"}]),
        ("effectiveDateTime", None),
        ("valueString", None),
        ("dataAbsentReason", {"text": "unknown"}),
        ("specimen", {"reference": "Specimen/a"}),
    ],
)
def test_the_summary_of_hl7_is_claimed_only_with_each_required_element(element: str, broken: Any) -> None:
    changed = {name: value for name, value in {**summary(), element: broken}.items() if value is not None}
    assert list(lacks_of_summary(changed))
    assert claimed(changed).get("meta", {}).get("profile") != [RDS]


@pytest.mark.parametrize("system", ["component", "identifier", "partOf"])
def test_the_summary_has_the_codings_of_the_profile(system: str) -> None:
    own = summary()
    told = {
        "component": [part["code"]["coding"][0]["code"] for part in own["component"]],
        "identifier": [one["type"]["coding"][0]["code"] for one in own["identifier"]],
        "partOf": [one["identifier"]["type"]["coding"][0]["code"] for one in own["partOf"] if "identifier" in one],
    }
    expected = {
        "component": ["121058", "349358000", "89457008", "410675002", "113507"],
        "identifier": ["sop-instance-uid"],
        "partOf": ["study-instance-uid"],
    }
    assert told[system] == expected[system]
