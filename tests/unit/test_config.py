"""Settings: strict, complete, complaining all at once; nobody gets in by default."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gateway import config, yamlfile
from gateway.config import Settings
from gateway.errors import Misconfigured
from gateway.web.passwords import hash_password, hash_token

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "gateway.yaml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    return path


def complaints(path: Path | None, **sources: object) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        config.load(path, **sources)  # type: ignore[arg-type]
    return caught.value.complaints


def test_the_shipped_file_lists_every_option_with_its_default() -> None:
    document = yamlfile.read(SHIPPED)
    listed = {(section, key) for section, keys in document.data.items() for key in keys if section != "targets"}
    declared = {
        (section.name, option.name)
        for section in dataclasses.fields(Settings)
        if section.name
        not in (
            "targets",
            "folders",
            "sources",
            "senders",
            "issuers",
            "clients",
        )  # named by people, see test_target_settings.py and its neighbours
        for option in dataclasses.fields(getattr(Settings(), section.name))
    }
    assert listed == declared
    assert config.load(SHIPPED).settings == Settings()


def test_later_sources_win_and_each_value_knows_where_it_came_from(tmp_path: Path) -> None:
    path = write(tmp_path, "receive: {ae_title: FILE, max_associations: 7}\ngather: {quiet_secs: 5}\n")
    loaded = config.load(
        path, environment={"ISOBRIDGE_RECEIVE__AE_TITLE": "ENV", "OTHER": "x"}, overrides=["gather.quiet_secs=9"]
    )
    assert loaded.settings.receive.ae_title == "ENV"
    assert loaded.settings.receive.max_associations == 7
    assert loaded.settings.gather.quiet_secs == 9
    assert loaded.origins["receive.ae_title"] == "environment ISOBRIDGE_RECEIVE__AE_TITLE"
    assert loaded.origins["receive.max_associations"].endswith("gateway.yaml:1:27")
    assert loaded.origins["gather.quiet_secs"] == "--set"
    assert loaded.origins["web.bind"] == "default"


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "recieve:\n  bind: x\ngather:\n  quiet_sec: 5\n  quiet_cap_secs: soon\n")
    told = complaints(path, overrides=["web.port=1"])
    assert any("gateway.yaml:2:3: unknown section 'recieve'; did you mean 'receive'?" in line for line in told)
    assert any("gateway.yaml:4:3: unknown option 'quiet_sec'; did you mean 'quiet_secs'?" in line for line in told)
    assert any("gateway.yaml:5:3: gather.quiet_cap_secs must be a whole number, 0 or more" in line for line in told)
    assert any("--set: unknown option 'port'" in line for line in told)
    assert len(told) == 4


def test_mistakes_of_every_kind_are_told_together(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "site: {timezone: Europe/Atlantis}\n"
        "receive: {bind: nowhere, ae_title: A TITLE THAT IS TOO LONG, check_called_ae: 2, colour: red}\n"
        "web: {bind: nowhere, external_url: isobridge.example}\n"
        "ledger: {url: 'mysql://x'}\n"
        "mappings: {directory: nowhere}\n",
    )
    with pytest.raises(Misconfigured) as caught:
        config.load(path, needs_mappings=True)
    told = caught.value.complaints
    words = (
        *("not a known time zone", "receive.bind: 'nowhere'", "1 to 16 printable", "true or false", "unknown option 'colour'"),
        *("web.bind: 'nowhere'", "must be like https://name.example", "must start with sqlite:///", "there is no folder nowhere"),
    )
    assert [word for word in words if not any(word in line for line in told)] == []
    assert len(told) == len(words)


def test_a_wrong_value_brings_no_second_complaint_about_what_depends_on_it() -> None:
    told = complaints(None, overrides=["receive.bind=0.0.0.0:1", "receive.behind_tls_proxy=2", "receive.calling_aes=PET1"])
    assert told == ["--set: receive.behind_tls_proxy must be true or false"]


def test_mappings_are_looked_for_here_and_then_beside_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (there / "own").mkdir(parents=True)
    monkeypatch.chdir(here)
    path = write(there, "mappings: {directory: own}\n")
    assert config.load(path, needs_mappings=True).settings.mappings.directory == there / "own"
    (here / "own").mkdir()
    assert config.load(path, needs_mappings=True).settings.mappings.directory == Path("own")
    assert any("there is no folder nowhere" in line for line in _without_mappings(path))


def _without_mappings(path: Path) -> list[str]:
    return complaints(path, overrides=["mappings.directory=nowhere"], needs_mappings=True)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("receive.bind=11112", "is not host:port"),
        ("receive.bind=127.0.0.1:99999", "is not host:port"),
        ("site.timezone=Europe/Atlantis", "not a known time zone"),
        ("receive.ae_title='A TITLE THAT IS TOO LONG'", "1 to 16 printable characters"),
        ("spool.acknowledge_after=never", "must be one of file, row"),
        ("receive.check_called_ae=2", "must be true or false"),
        ("receive.max_associations=-1", "must be a whole number, 0 or more"),
        ("nonsense", "expected section.key=value"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(override: str, complaint: str) -> None:
    assert any(complaint in line for line in complaints(None, overrides=[override]))


def test_a_dicom_port_beyond_loopback_needs_a_tls_proxy_and_named_callers() -> None:
    for overrides in (
        ["receive.bind=0.0.0.0:11112"],
        ["receive.bind=0.0.0.0:11112", "receive.behind_tls_proxy=true"],
        ["receive.bind=[::]:11112", "receive.calling_aes=PET1"],
        ["receive.bind=pacs.example:11112"],
    ):
        assert any("lets anybody in" in line for line in complaints(None, overrides=overrides))
    opened = config.load(
        None, overrides=["receive.bind=0.0.0.0:11112", "receive.behind_tls_proxy=true", "receive.calling_aes=PET1,PET2"]
    )
    assert opened.settings.receive.calling_aes == ("PET1", "PET2")


def test_a_web_port_beyond_loopback_needs_tls_users_and_an_address_and_says_so_at_once() -> None:
    told = complaints(None, overrides=["web.bind=0.0.0.0:8080"])
    assert len(told) == 3
    for word in ("web.tls_certificate", "web.users", "web.external_url"):
        assert any(word in line for line in told)
    assert config.load(None, overrides=["web.bind=[::1]:0"]).settings.web.bind == "[::1]:0"


def test_a_web_port_behind_a_tls_proxy_with_users_and_an_address_starts() -> None:
    opened = config.load(
        None,
        overrides=[
            "web.bind=0.0.0.0:8080",
            "web.behind_tls_proxy=true",
            f"web.users={{ana: {hash_password('x')}}}",
            f"web.tokens={{pyrate: {hash_token('y')}}}",
            "web.external_url=https://isobridge.example/",
        ],
    )
    assert opened.settings.web.address == "https://isobridge.example"


@pytest.mark.parametrize("more", ["web.bind=0.0.0.0:8080", "web.behind_tls_proxy=true"])
def test_writing_without_a_log_in_stays_on_this_machine(more: str) -> None:
    assert config.load(None).settings.web.fhir_write == "off"
    assert config.load(None, overrides=["web.fhir_write=loopback"]).settings.web.fhir_write == "loopback"
    assert any(
        "lets everybody on this machine write" in line for line in complaints(None, overrides=["web.fhir_write=loopback", more])
    )


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("web.users={ana: secret}", "'ana' needs a line that 'isobridge web-password' printed"),
        ("web.tokens={pyrate: secret}", "'pyrate' needs a line that 'isobridge web-token' printed"),
        ("web.users=ana", "must hold 'name: text' pairs"),
        ("web.external_url=isobridge.example", "must be like https://name.example"),
        ("web.external_url=https://user:secret@isobridge.example", "must be like https://name.example"),
        ("web.external_url=https://isobridge.example/below", "without a path"),
        ("web.tls_certificate=/nowhere.pem", "there is no file"),
        ("web.cors_origins=['*']", "an origin is like"),
        ("web.cors_origins=['https://viewer.example/']", "an origin is like"),
        ("web.fhir_write=yes", "must be one of off, loopback, scoped"),
        ("web.fhir_write=scoped", "but there is none; see the section clients"),
        ("web.fhir_max_request_megabytes=0", "must be 1 or more"),
    ],
)
def test_a_wrong_web_option_is_refused_and_no_secret_is_repeated(override: str, complaint: str) -> None:
    told = complaints(None, overrides=[override])
    assert any(complaint in line for line in told)
    assert not any("secret" in line for line in told)


def test_the_address_of_the_images_is_known_unless_the_port_is_free() -> None:
    assert config.load(None).settings.web.address == "http://127.0.0.1:8080"
    assert config.load(None, overrides=["web.bind=127.0.0.1:0"]).settings.web.address is None


def test_passwords_and_tokens_are_never_shown() -> None:
    assert config.shown({"ana": "scrypt:secret"}) == "ana: ***"


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    assert complaints(tmp_path / "no.yaml") == [f"{tmp_path / 'no.yaml'}: cannot be read (No such file or directory)"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: &x 1\nb: *x\n", "anchors and aliases are not allowed"),
        ("site: {name: a, name: b}\n", "'name' is given twice"),
        ("site: [1\n", "not valid YAML"),
        ("x: " + "[" * 50 + "]" * 50, "nested deeper"),
        ("# " + "x" * (1024 * 1024), "larger than 1024 KiB"),
    ],
)
def test_yaml_that_could_hurt_or_mislead_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    assert any(complaint in line for line in complaints(write(tmp_path, text)))


def test_yaml_keeps_what_was_written_where_yaml_1_1_would_guess() -> None:
    document = yamlfile.parse("[010, 12:30, 2024-05-01, yes, 1.50, 7, true]", name="t")
    assert [str(value) for value in document.data] == ["010", "12:30", "2024-05-01", "yes", "1.50", "7", "True"]
