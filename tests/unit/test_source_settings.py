"""The section ``sources:``: named by people, and everything that is wrong told at once, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.errors import Misconfigured
from gateway.source_settings import SourceSettings


def complaints(text: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        config.load(path)
    return caught.value.complaints


def test_sources_are_read_with_their_origins_and_secrets_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "sources:\n  pacs:\n    kind: dicom\n    address: PACS@[::1]:104\n  old:\n    kind: orthanc\n    url: http://a/b\n"
    )
    loaded = config.load(path, environment={"ISOBRIDGE_SOURCES__OLD__PASSWORD": "98765"})
    pacs, old = loaded.settings.sources
    assert pacs == SourceSettings(name="pacs", kind="dicom", address="PACS@[::1]:104")
    assert (old.password, "98765" in repr(old), loaded.shown("sources.old.password")) == ("98765", False, "***")
    assert loaded.origins["sources.pacs.address"].endswith("gateway.yaml:4:5")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("address: PACS@host:104", "kind is missing"),
        ("kind: ftp", "must be one of orthanc, dicomweb, dicom"),
        ("{kind: dicom, address: host}", "must look like AET@host:port"),
        ("{kind: dicom, address: 'A@h:1', url: 'http://a'}", "url means nothing for a source of kind dicom"),
        ("{kind: orthanc, url: 'ftp://a'}", "must look like https://host:port/path"),
        ("{kind: orthanc, url: 'http://me:secret@a'}", "neither credentials nor a query"),
        ("{kind: orthanc, url: 'http://a', password: x}", "does not belong where others can read it"),
        ("{kind: orthanc, url: 'http://a', token_file: /nowhere}", "names /nowhere, which is no file"),
        ("{kind: orthanc, url: 'http://a', pace: 3}", "unknown option 'pace'"),
    ],
)
def test_what_is_wrong_is_told(options: str, wanted: str, tmp_path: Path) -> None:
    body = options if options.startswith("{") else "{" + options + "}"
    told = complaints(f"sources:\n  past: {body}\n", tmp_path)
    assert any(wanted in line and "gateway.yaml:2" in line for line in told), told
