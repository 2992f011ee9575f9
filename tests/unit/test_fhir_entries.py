"""Whatever a bundle holds, it is understood or refused by name: reading it never fails in another way."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Rejected
from gateway.r4.canonical import encode
from gateway.store.operations import Operation, read_criteria
from gateway.web.fhir_body import parsed
from gateway.web.fhir_entries import Read, checked_bundle, read_entry

BASE = "http://127.0.0.1:8080/fhir"
PATIENT = {"resourceType": "Patient", "id": "a"}

METHODS = ["GET", "PUT", "POST", "DELETE"]
ADDRESSES = ["Patient/a", "Patient?identifier=a", "urn:uuid:1", 'W/"1"', "//"]

_odd = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.sampled_from([*METHODS, *ADDRESSES]))
_tree = st.recursive(_odd, lambda deep: st.lists(deep, max_size=3) | st.dictionaries(st.text(max_size=8), deep, max_size=3))
_request = st.fixed_dictionaries({}, optional=dict.fromkeys(("method", "url", "ifMatch", "ifNoneExist"), _odd))
_entry = st.fixed_dictionaries(
    {}, optional={"request": _request | _tree, "resource": st.just(PATIENT) | _tree, "fullUrl": st.text(max_size=9) | _tree}
)


@given(entries=st.one_of(st.lists(_entry, max_size=3), _tree), kind=st.sampled_from(["batch", "transaction", "document", ""]))
@settings(max_examples=150, deadline=None)
def test_a_bundle_is_understood_or_refused(entries: Any, kind: str) -> None:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}
    with contextlib.suppress(Rejected):
        entries = checked_bundle(parsed(encode(bundle), xml=False))
        for number, entry in enumerate(entries):
            with contextlib.suppress(Rejected):
                assert isinstance(read_entry(number, entry, BASE), Operation | Read)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("PUT", "Patient/a", None),
        ("PUT", f"{BASE}/Patient/a", None),
        ("PUT", "Patient?identifier=s|v", None),
        ("PUT", "Patient", 400),
        ("PUT", "Patient/b", 400),
        ("PUT", "Patient/a?identifier=s|v", 400),
        ("PUT", "Patient/a/_history/1", 400),
        ("POST", "Patient", None),
        ("POST", "Patient/a", 400),
        ("DELETE", "Patient", 400),
        ("DELETE", "Nothing/a", 404),
        ("DELETE", "AuditEvent/a", 405),
        ("GET", "Patient?name=a", None),
        ("GET", "Patient/$everything", 400),
        ("GET", "https://elsewhere.example/fhir/Patient/a", 400),
        ("PATCH", "Patient/a", 405),
    ],
)
def test_an_address_goes_with_its_method(method: str, url: str, status: int | None) -> None:
    entry = {"request": {"method": method, "url": url}, **({"resource": PATIENT} if method in ("PUT", "POST") else {})}
    if status is None:
        assert isinstance(read_entry(0, entry, BASE), Operation | Read)
        return
    with pytest.raises(Rejected) as caught:
        read_entry(0, entry, BASE)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "text", ["", "identifier", "identifier=", "a.b=c", "_has:Observation:subject:code=1", "_count=2", "a=1&" * 30, "a=%ff"]
)
def test_criteria_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_criteria(text)
    assert caught.value.status == 400


def test_criteria_keep_their_order_and_their_signs() -> None:
    assert read_criteria("identifier=urn:oid:1.2%7CA%2B1&birthdate=1970") == (
        ("identifier", "urn:oid:1.2|A+1"),
        ("birthdate", "1970"),
    )
