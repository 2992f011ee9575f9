"""``receive.tls`` and ``receive.storage_commitment``: every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.dicom_settings import certificate_names
from gateway.errors import Misconfigured


def complaints(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        config.load(path)
    return caught.value.complaints


def test_every_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    told = complaints(
        tmp_path,
        "receive:\n"
        "  tls:\n"
        "    bind: 0.0.0.0:2762\n"
        "    certificate_file: nowhere.pem\n"
        "    client_certificate: none\n"
        "    aes: {PETCT1: sha256:12}\n"
        "    colour: red\n"
        "  storage_commitment:\n"
        "    mode: end_to_end\n"
        "    wait_minutes: 0\n"
        "    peers: {PETCT1: 10.0.0.7}\n",
    )
    words = (
        "gateway.yaml:4:5: receive.tls.certificate_file names nowhere.pem, which is no file",
        "gateway.yaml:3:5: receive.tls.key_file is missing",
        "gateway.yaml:6:5: receive.tls.aes 'PETCT1' has a fingerprint",
        "gateway.yaml:5:5: receive.tls.client_certificate none leaves nothing",
        "gateway.yaml:3:5: receive.tls.bind is not loopback",
        "gateway.yaml:7:5: unknown option 'colour'",
        "gateway.yaml:9:5: receive.storage_commitment.mode end_to_end needs a target",
        "gateway.yaml:10:5: receive.storage_commitment.wait_minutes must be 1 or more",
        "gateway.yaml:11:5: receive.storage_commitment.peers 'PETCT1: 10.0.0.7' is not like",
    )
    assert [word for word in words if not any(word in line for line in told)] == []
    assert len(told) == len(words)


def test_a_section_must_hold_options_and_a_wrong_value_is_told_once(tmp_path: Path) -> None:
    assert any("receive.tls must hold 'key: value' lines" in line for line in complaints(tmp_path, "receive: {tls: yes}\n"))
    told = complaints(tmp_path, "receive: {tls: {minimum_version: ssl3}, storage_commitment: {mode: spool}}\n")
    assert [line.partition(": ")[2] for line in told] == [
        "receive.tls.minimum_version must be one of tls1.2, tls1.3",
        "receive.storage_commitment.mode must be one of off, end_to_end",
    ]


def test_an_unusable_certificate_is_told(tmp_path: Path) -> None:
    file = tmp_path / "some.pem"
    file.write_text("no certificate\n")
    told = complaints(
        tmp_path,
        f"receive:\n  tls: {{bind: '127.0.0.1:0', certificate_file: {file}, key_file: {file}, client_ca_file: {file}}}\n",
    )
    assert len(told) == 1
    assert "receive.tls.certificate_file: " in told[0]
    assert "cannot be used" in told[0]


def test_settings_come_from_the_environment_and_arguments_too() -> None:
    loaded = config.load(
        None,
        environment={"ISOBRIDGE_RECEIVE__STORAGE_COMMITMENT__WAIT_MINUTES": "5"},
        overrides=["receive.tls.minimum_version=tls1.3"],
    )
    assert loaded.settings.receive.storage_commitment.wait_minutes == 5
    assert loaded.settings.receive.tls.minimum_version == "tls1.3"
    assert loaded.shown("receive.tls.minimum_version") == "tls1.3"
    assert (
        loaded.origins["receive.storage_commitment.wait_minutes"]
        == "environment ISOBRIDGE_RECEIVE__STORAGE_COMMITMENT__WAIT_MINUTES"
    )


def test_names_of_certificates() -> None:
    colons = ":".join(["AB"] * 32)
    assert certificate_names(f"sha256:{colons}, dns:PETCT1.example") == {"sha256:" + "ab" * 32, "dns:petct1.example"}
    for wrong in ("", "PETCT1", "sha1:00", "cn:", "sha256:zz"):
        with pytest.raises(ValueError, match=r"must be|fingerprint|names no"):
            certificate_names(wrong)
