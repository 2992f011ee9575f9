"""Promises of narratives: what is shown to people is text with formatting, and nothing that runs or fetches."""

from __future__ import annotations

import pytest

from gateway.r4.validate import validate


def complaints(inside: str, start: str = '<div xmlns="http://www.w3.org/1999/xhtml">', end: str = "</div>") -> list[str]:
    return validate({"resourceType": "Patient", "text": {"status": "generated", "div": f"{start}{inside}{end}"}})


@pytest.mark.parametrize(
    "inside",
    [
        "<p>Two <b>lesions</b>, see <a href='#o1'>there</a></p>",
        "<table border='1'><tbody><tr><td colspan='2' style='color: red'>1.50&#160;Gy</td></tr></tbody></table>",
        "<img src='#pic' alt='curve'/>",
        "<img src='data:image/png;base64,iVBORw0KGgo=' alt='curve'/>",
        "<a href='https://example.org/a?b=1&amp;c=2' title='more'>more</a><span xml:lang='nl'>ja</span>",
        "5 &lt; 6",
    ],
)
def test_formatted_text_is_welcome(inside: str) -> None:
    assert complaints(inside) == []


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        "<p onclick='x()'>a</p>",
        "<a href='javascript:x()'>a</a>",
        "<a href=' JaVaScRiPt:x()'>a</a>",
        "<a href='data:text/html,x'>a</a>",
        "<img src='data:image/svg+xml;base64,AAAA'/>",
        "<p style='background: URL (http://elsewhere)'>a</p>",
        "<iframe src='http://elsewhere'/>",
        "<form action='http://elsewhere'><input name='password'/></form>",
        "<svg xmlns='http://www.w3.org/2000/svg'><a>x</a></svg>",
        "<p>unclosed",
        "a &nbsp; b",
        "a</div><div>b",
        "<?php x ?>a",
    ],
)
def test_what_would_run_or_fetch_is_refused(inside: str) -> None:
    assert any("txt-1" in one for one in complaints(inside))
    assert not any("elsewhere" in one or "alert" in one for one in complaints(inside))


def test_a_narrative_says_something_in_a_div_of_xhtml() -> None:
    assert any("txt-2" in one for one in complaints(" \n "))
    assert any("txt-1" in one for one in complaints("a", start="<div>"))
    assert complaints("a", start='<p xmlns="http://www.w3.org/1999/xhtml">', end="</p>") != []
    bomb = '<!DOCTYPE a [<!ENTITY x "aaaa">]><div xmlns="http://www.w3.org/1999/xhtml">'
    assert complaints("&x;", start=bomb) != []
