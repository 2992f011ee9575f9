"""Pairs, chains, strings, references and the order of pages: the search against a plain reading, on both databases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store import FhirStore
from tests import postgres
from tests.fhir_samples import DCM, UCUM

PATIENTS = ["p0", "p1", "p2"]
NAMES = ["Ann", "Anna", "Änne", "bo", "Bo$b", "x%y", "a,b"]
OBSERVATIONS = 6
CODES = ["a", "b"]
NUMBERS = ["1", "1.5", "2", "20"]

Tree = dict[str, Any]


def quantity(number: str, unit: str) -> Tree:
    return {"value": Decimal(number), "system": UCUM, "code": unit, "unit": unit}


def concept(code: str) -> Tree:
    return {"coding": [{"system": DCM, "code": code}]}


_quantities = st.builds(quantity, st.sampled_from(NUMBERS), st.sampled_from(["MBq", "Gy"]))
_values: st.SearchStrategy[Tree] = st.one_of(
    _quantities.map(lambda q: {"valueQuantity": q}),
    st.sampled_from(CODES).map(lambda c: {"valueCodeableConcept": concept(c)}),
    st.sampled_from(NAMES).map(lambda t: {"valueString": t}),
    st.sampled_from(["2026", "2026-02-03"]).map(lambda d: {"valueDateTime": d}),
    st.just({}),
)
_coded = st.builds(lambda code, value: {"code": concept(code), **value}, st.sampled_from(CODES), _values)
_observations = st.builds(
    lambda head, parts, patient, cycle: {
        **head,
        "status": "final",
        **({"subject": patient} if patient else {}),
        **({"component": [*parts, *cycle]} if parts or cycle else {}),
    },
    _coded,
    st.lists(_coded, max_size=2),
    st.one_of(
        st.sampled_from(PATIENTS).map(lambda p: {"reference": f"Patient/{p}"}),
        st.just({"identifier": {"system": "urn:h", "value": "7"}}),
        st.none(),
    ),
    st.one_of(st.just([]), st.integers(1, 3).map(lambda n: [{"code": concept("cycle-number"), "valueInteger": n}])),
)
_patients = st.lists(st.sampled_from(NAMES), min_size=len(PATIENTS), max_size=len(PATIENTS)).map(
    lambda names: [
        {"resourceType": "Patient", "id": key, "name": [{"family": name}], "active": name == "bo"}
        for key, name in zip(PATIENTS, names, strict=True)
    ]
)


def places(item: Tree, name: str) -> list[Tree]:
    own, parts = [item], item.get("component", [])
    return parts if name.startswith("component-") else own + parts if name.startswith("combo-") else own


def coded(place: Tree, code: str) -> bool:
    return any(coding["code"] == code for coding in place["code"]["coding"])


def folded(text: str) -> str:
    return text.casefold().replace("ä", "a")


class Question:
    """A parameter, and what it means for one observation among the patients."""

    def __init__(self, name: str, value: str, *facts: str) -> None:
        self.name, self.value, self.facts = name, value, facts

    def __repr__(self) -> str:
        return f"{self.name}={self.value}"

    def holds(self, item: Tree, patients: dict[str, Tree]) -> bool:
        stem = self.name.removeprefix("component-").removeprefix("combo-")
        method = "_" + re.sub(r"[-:.]", "_", stem).lower()
        answer: bool = getattr(self, method)(item, patients)
        return answer

    def _code_value_quantity(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        code, prefix, number, unit = self.facts
        found = [place["valueQuantity"] for place in places(item, self.name) if coded(place, code) and "valueQuantity" in place]
        limit = Decimal(number)
        return any((q["value"] > limit if prefix == "gt" else q["value"] <= limit) and unit in ("", q["code"]) for q in found)

    def _code_value_concept(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        code, value = self.facts
        found = [place for place in places(item, self.name) if coded(place, code) and "valueCodeableConcept" in place]
        return any(coding["code"] == value for place in found for coding in place["valueCodeableConcept"]["coding"])

    def _code_value_string(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        code, value = self.facts
        return coded(item, code) and "valueString" in item and folded(item["valueString"]).startswith(folded(value))

    def _code_value_date(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        code, value = self.facts
        return coded(item, code) and str(item.get("valueDateTime", "")).startswith(value)

    def _cycle(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        return any(part.get("valueInteger") == int(self.value) for part in item.get("component", []))

    def _subject(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        return bool(item.get("subject", {}).get("reference") == f"Patient/{self.facts[0]}")

    _patient = _subject_patient = _subject

    def _subject_identifier(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        return "identifier" in item.get("subject", {})

    def _subject_missing(self, item: Tree, _patients: dict[str, Tree]) -> bool:
        return ("subject" not in item) == (self.value == "true")

    def _chained(self, item: Tree, patients: dict[str, Tree]) -> Tree | None:
        reference = item.get("subject", {}).get("reference", "")
        return patients.get(reference.partition("/")[2])

    def _patient_family(self, item: Tree, patients: dict[str, Tree]) -> bool:
        found = self._chained(item, patients)
        return bool(found) and folded(found["name"][0]["family"]).startswith(folded(self.facts[0])) if found else False

    def _patient_family_exact(self, item: Tree, patients: dict[str, Tree]) -> bool:
        found = self._chained(item, patients)
        return bool(found and found["name"][0]["family"] == self.facts[0])

    def _subject_patient_family_contains(self, item: Tree, patients: dict[str, Tree]) -> bool:
        found = self._chained(item, patients)
        return folded(self.facts[0]) in folded(found["name"][0]["family"]) if found else False

    def _patient_active_not(self, item: Tree, patients: dict[str, Tree]) -> bool:
        found = self._chained(item, patients)
        return not found["active"] if found else False

    def _patient__has_observation_patient_code(self, item: Tree, patients: dict[str, Tree]) -> bool:
        found = self._chained(item, patients)
        return self.facts[0] in found["codes"] if found else False


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("$", "\\$").replace("|", "\\|")


_kinds = st.sampled_from(["", "component-", "combo-"])
_codes = st.sampled_from(CODES)
_names = st.sampled_from([*NAMES, "an", "B", "%"])
_questions = st.one_of(
    st.builds(
        lambda k, c, p, n, u: Question(f"{k}code-value-quantity", f"{c}${p}{n}{f'|{UCUM}|{u}' if u else ''}", c, p, n, u),
        _kinds,
        _codes,
        st.sampled_from(["gt", "le"]),
        st.sampled_from(NUMBERS),
        st.sampled_from(["", "MBq", "Gy"]),
    ),
    st.builds(lambda k, c, v: Question(f"{k}code-value-concept", f"{DCM}|{c}${v}", c, v), _kinds, _codes, _codes),
    st.builds(lambda c, t: Question("code-value-string", f"{c}${escaped(t)}", c, t), _codes, _names),
    st.builds(lambda c, d: Question("code-value-date", f"{c}${d}", c, d), _codes, st.sampled_from(["2026-02-03", "2027"])),
    st.integers(1, 3).map(lambda n: Question("cycle", str(n))),
    st.sampled_from(PATIENTS).map(lambda p: Question("subject", f"Patient/{p}", p)),
    st.sampled_from(PATIENTS).map(lambda p: Question("patient", p, p)),
    st.sampled_from(PATIENTS).map(lambda p: Question("subject:Patient", p, p)),
    st.just(Question("subject:identifier", "urn:h|7")),
    st.sampled_from(["true", "false"]).map(lambda b: Question("subject:missing", b)),
    _names.map(lambda t: Question("patient.family", escaped(t), t)),
    _names.map(lambda t: Question("patient.family:exact", escaped(t), t)),
    _names.map(lambda t: Question("subject:Patient.family:contains", escaped(t), t)),
    st.just(Question("patient.active:not", "true")),
    _codes.map(lambda c: Question("patient._has:Observation:patient:code", c, c)),
)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirStore]:
    if request.param == "sqlite":
        opened = FhirStore(f"sqlite:///{tmp_path_factory.mktemp('pairs') / 'store.db'}")
        yield opened
        opened.close()
        return
    with postgres.server() as running, postgres.database(running) as url:
        opened = FhirStore(url)
        yield opened
        opened.close()


def load(store: FhirStore, patients: list[Tree], observations: list[Tree]) -> None:
    named = [{"resourceType": "Observation", "id": f"o{number}", **item} for number, item in enumerate(observations)]
    entries: list[Tree] = [
        {"resource": item, "request": {"method": "PUT", "url": f"{item['resourceType']}/{item['id']}"}}
        for item in (*patients, *named)
    ]
    for number in range(len(observations), OBSERVATIONS):  # what an earlier example left behind
        entries.append({"request": {"method": "DELETE", "url": f"Observation/o{number}"}})
    store.transact({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def pages(store: FhirStore, parameters: list[tuple[str, str]], count: int) -> Iterator[list[str]]:
    start: str | None = None
    while True:
        marks = [("_page", start)] if start else []
        page = store.search("Observation", [*parameters, ("_count", str(count)), *marks])
        yield [entry.stored.id for entry in page.entries]
        start = page.next
        if start is None:
            return


def by_id(patients: list[Tree], observations: list[Tree]) -> dict[str, Tree]:
    """The patients, each with the codes that were observed of him."""
    known = {item["id"]: {**item, "codes": set()} for item in patients}
    for item in observations:
        found = known.get(item.get("subject", {}).get("reference", "").partition("/")[2])
        if found:
            found["codes"] |= {coding["code"] for coding in item["code"]["coding"]}
    return known


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    patients=_patients,
    observations=st.lists(_observations, min_size=1, max_size=OBSERVATIONS),
    questions=st.lists(st.lists(_questions, min_size=1, max_size=2), min_size=3, max_size=6),
    count=st.integers(1, 4),
)
def test_search_agrees_with_a_plain_reading(
    store: FhirStore, patients: list[Tree], observations: list[Tree], questions: list[list[Question]], count: int
) -> None:
    load(store, patients, observations)
    known = by_id(patients, observations)
    for asked in questions:
        expected = {f"o{n}" for n, item in enumerate(observations) if all(q.holds(item, known) for q in asked)}
        parameters = [(question.name, question.value) for question in asked]
        shown = [name for page in pages(store, parameters, count) for name in page]
        assert sorted(shown) == sorted(expected), asked


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    patients=_patients,
    observations=st.lists(_observations, min_size=2, max_size=OBSERVATIONS),
    keys=st.lists(
        st.sampled_from(["code", "-code", "value-quantity", "-value-quantity", "cycle", "-cycle", "-_id"]), min_size=1, max_size=3
    ),
    asked=st.lists(_questions, max_size=1),
    count=st.integers(1, 3),
)
def test_pages_follow_the_order_of_several_keys(
    store: FhirStore, patients: list[Tree], observations: list[Tree], keys: list[str], asked: list[Question], count: int
) -> None:
    load(store, patients, observations)
    parameters = [(question.name, question.value) for question in asked]
    shown = [name for page in pages(store, [*parameters, ("_sort", ",".join(keys))], count) for name in page]
    known = by_id(patients, observations)
    expected = [f"o{number}" for number, item in enumerate(observations) if all(q.holds(item, known) for q in asked)]
    by_rid = {name: place for place, name in enumerate(n for page in pages(store, [], 50) for n in page)}
    expected.sort(key=by_rid.__getitem__)
    for key in reversed(keys):
        down = key.startswith("-")
        values = {name: sort_value(observations[int(name[1:])], name, key.lstrip("-"), down=down) for name in expected}
        found = [name for name in expected if values[name] is not None]
        present = sorted(found, key=lambda name: Reverse(values[name]) if down else values[name])
        expected = present + [name for name in expected if values[name] is None]
    assert shown == expected


class Reverse:
    """Turns an order round and keeps what is equal in its order."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Reverse) -> bool:
        return bool(other.value < self.value)


def sort_value(item: Tree, name: str, code: str, *, down: bool) -> Any:
    if code == "_id":
        return name
    if code == "code":
        return item["code"]["coding"][0]["code"]
    if code == "value-quantity":
        return item["valueQuantity"]["value"] if "valueQuantity" in item else None
    found = [part["valueInteger"] for part in item.get("component", []) if "valueInteger" in part]
    return (max(found) if down else min(found)) if found else None
