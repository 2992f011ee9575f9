"""Promises of the query reader: it understands R4's search grammar and says what it does not understand."""

from __future__ import annotations

import pytest

from gateway.errors import Rejected
from gateway.store.query import MAX_COUNT, Chain, Condition, Has, Include, SortKey, parse, split_bars, split_values


def test_commas_mean_or_and_repetition_means_and() -> None:
    query = parse("Patient", [("gender", "male,female"), ("gender", "other")])
    assert [item.values for item in query.filters if isinstance(item, Condition)] == [("male", "female"), ("other",)]


def test_escaped_commas_and_bars_belong_to_the_value() -> None:
    assert split_values(r"a\,b,c") == (r"a\,b", "c")
    assert split_bars(r"a\|b|c\,d") == ["a|b", "c,d"]


def test_a_chain_without_a_type_asks_every_target_that_knows_the_parameter() -> None:
    (chain,) = parse("ImagingStudy", [("subject.name", "x")]).filters
    assert isinstance(chain, Chain)
    assert [target for target, _ in chain.targets] == ["Patient"]
    (deeper,) = parse("Observation", [("derived-from:ImagingStudy.patient.family", "x")]).filters
    assert isinstance(deeper, Chain)


def test_a_reverse_chain_names_type_reference_and_parameter() -> None:
    (has,) = parse("Patient", [("_has:Observation:patient:code", "x")]).filters
    assert isinstance(has, Has)
    assert (has.source, has.code) == ("Observation", "patient")


def test_sorting_including_and_counting_are_understood() -> None:
    query = parse(
        "ImagingStudy", [("_sort", "-started,_id"), ("_include:iterate", "ImagingStudy:subject:Patient"), ("_count", "9999")]
    )
    assert query.sort == (SortKey("started", "date", True), SortKey("_id", "token", False))
    assert query.includes == (Include("ImagingStudy", "subject", "Patient", False, True),)
    assert query.count == MAX_COUNT


def test_unknown_parameters_are_named_and_empty_ones_do_not_count() -> None:
    query = parse("Patient", [("shoesize", "1"), ("gender", ""), ("_totalMethod", "count"), ("_format", "json")])
    assert query.ignored == ("shoesize", "_totalMethod")
    assert query.filters == ()
    with pytest.raises(Rejected, match="shoesize") as caught:
        parse("Patient", [("shoesize", "1")], strict=True)
    assert caught.value.status == 400


def test_an_endless_chain_is_refused() -> None:
    with pytest.raises(Rejected, match="chain"):
        parse("Observation", [("has-member:Observation." * 6 + "code", "x")])


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("Observation", [("date", ",".join(["ge2026"] * 400))] * 2),
        ("Provenance", [("target._tag", "a")] * 20),
        ("Patient", [("_has:Observation:patient:value-quantity", ",".join(["1"] * 499))] * 2),
        ("Observation", [("code", ",".join(["a"] * 500))] * 50),
    ],
)
def test_what_would_be_compiled_for_seconds_is_refused(kind: str, parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(Rejected, match="too much at once") as caught:
        parse(kind, parameters)
    assert caught.value.status == 400


def test_long_lists_of_names_are_welcome() -> None:
    accessions = ",".join(f"A{number}" for number in range(500))
    assert len(parse("ImagingStudy", [("identifier", accessions)] * 5).filters) == 5


def test_a_chain_over_every_type_asks_about_none_that_is_kept_elsewhere() -> None:
    (chain,) = parse("Provenance", [("target._tag", "a")]).filters
    assert isinstance(chain, Chain)
    asked = {target for target, _ in chain.targets}
    assert {"Patient", "Observation"} <= asked
    assert "AuditEvent" not in asked


def test_too_many_conditions_are_refused() -> None:
    with pytest.raises(Rejected, match="conditions"):
        parse("Patient", [("gender", "male")] * 60)
