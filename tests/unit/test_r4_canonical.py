"""Promises of FHIR JSON: decimals stay as written, and equal content has an equal hash."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.r4.canonical import content_hash, decode, encode


@pytest.mark.parametrize("text", ["1.50", "0.000", "12345678901234.123456789", "1E+2", "-0.0", "3"])
def test_a_number_keeps_its_digits(text: str) -> None:
    assert encode(decode(f'{{"value":{text}}}')) == f'{{"value":{text}}}'.encode()


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="not numbers"):
        encode({"value": [Decimal(word)]})


def test_the_word_nan_in_a_text_is_fine() -> None:
    assert encode({"value": "NaN"}) == b'{"value":"NaN"}'


def test_endless_nesting_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="deep"):
        decode(b"[" * 100_000)


def test_hash_ignores_the_order_of_keys_and_what_a_server_writes() -> None:
    one = {
        "resourceType": "Patient",
        "id": "a",
        "meta": {"versionId": "3", "lastUpdated": "2026-01-01T00:00:00Z"},
        "active": True,
    }
    other = {"active": True, "id": "a", "resourceType": "Patient"}
    assert content_hash(one) == content_hash(other)


def test_hash_sees_other_meta_and_the_precision_of_a_number() -> None:
    assert content_hash({"meta": {"tag": []}}) != content_hash({})
    assert content_hash({"value": Decimal("1.50")}) != content_hash({"value": Decimal("1.5")})


def test_hash_can_leave_out_named_elements() -> None:
    one = {"id": "a", "text": {"div": "1"}, "meta": {"tag": [1], "source": "s"}}
    other = {"id": "a", "meta": {"source": "s", "tag": [2]}}
    assert content_hash(one, without={"text", "meta.tag"}) == content_hash(other, without={"text", "meta.tag"})
    assert one["meta"] == {"tag": [1], "source": "s"}  # the resource itself is left as it was


_scalars = (
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.decimals(allow_nan=False, allow_infinity=False) | st.text()
)
_trees = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(_trees)
def test_encoding_and_decoding_is_a_round_trip(tree: object) -> None:
    assert encode(decode(encode(tree))) == encode(tree)
