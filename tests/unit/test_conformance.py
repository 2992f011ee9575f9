"""The conformance statement says what negotiation does, and is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom._uid_dict import UID_dictionary

from gateway.receive.negotiation import Agreed, negotiate
from gateway.receive.settings import ReceiveSettings
from gateway.workbench.conformance import written
from tests.integration.receiving import EXPLICIT, PET, request_pdu

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dicom-conformance.md"
SOP_CLASSES = [uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "SOP Class"]
SYNTAXES = [uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"]


def listed(part: str) -> set[str]:
    """The UIDs in one generated table of the page."""
    found = re.search(rf"<!-- generated: {part} -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert found
    return set(re.findall(r"\| (\d+(?:\.\d+)+) \|", found[1]))


def accepted(contexts: list[tuple[str, list[str]]], **settings: bool) -> set[tuple[str, str]]:
    """What the receiver agrees to when all of it is proposed, 100 contexts in each request."""
    agreed: set[tuple[str, str]] = set()
    for start in range(0, len(contexts), 100):
        result = negotiate(request_pdu(contexts[start : start + 100])[6:], ReceiveSettings(**settings))  # type: ignore[arg-type]
        assert isinstance(result, Agreed)
        agreed |= {(context.abstract_syntax_uid, context.transfer_syntax_uid) for context in result.contexts.values()}
    return agreed


def test_the_page_is_what_the_code_writes() -> None:
    assert written(PAGE.read_text()) == PAGE.read_text(), "run: make conformance"


@pytest.mark.parametrize("raw_data", [True, False])
def test_every_sop_class_of_the_page_is_accepted_and_no_other(raw_data: bool) -> None:
    proposed = [(uid, [EXPLICIT]) for uid in {*SOP_CLASSES, *listed("sop-classes")}]
    taken = {abstract for abstract, _ in accepted(proposed, accept_raw_data=raw_data, storage_commitment=raw_data)}
    assert listed("sop-classes") - taken == (set() if raw_data else {"1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.1.20.1"})
    assert taken <= listed("sop-classes")


def test_every_transfer_syntax_of_the_page_is_accepted_and_no_other() -> None:
    proposed = [(PET, [uid]) for uid in {*SYNTAXES, *listed("transfer-syntaxes")}]
    assert {syntax for _, syntax in accepted(proposed)} == listed("transfer-syntaxes")


def test_the_statuses_of_the_page_are_those_of_the_code() -> None:
    from gateway.receive import status

    codes = {value for name, value in vars(status).items() if name.isupper() and name != "COMMENT_MOST"}
    page = re.search(r"<!-- generated: statuses -->\n(.*?)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert page
    assert {int(code, 16) for code in re.findall(r"^\| ([0-9A-F]{4}) \|", page[1], re.MULTILINE)} == codes
