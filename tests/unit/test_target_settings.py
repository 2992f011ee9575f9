"""The section ``targets:``: named by people, checked at once, secrets nowhere to be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.errors import Misconfigured

ARCHIVE = ["targets.archive.kind=orthanc", "targets.archive.url=http://127.0.0.1:8042"]


def load(tmp_path: Path, text: str, **sources: object) -> config.Loaded:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    return config.load(path, **sources)  # type: ignore[arg-type]


def complaints(overrides: list[str], **sources: object) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        config.load(None, overrides=overrides, **sources)  # type: ignore[arg-type]
    return caught.value.complaints


def test_without_targets_the_embedded_store_is_the_only_one() -> None:
    (only,) = config.load(None).settings.targets
    assert (only.name, only.kind, only.enabled) == ("embedded", "embedded", True)


def test_targets_come_from_file_environment_and_overrides_together(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("abc\n")
    text = f"""targets:
  archive:
    kind: orthanc
    url: http://127.0.0.1:8042
    username: me
  research: {{kind: fhir_server, url: "https://fhir.example.org/r4", token_file: {secret}}}
"""
    loaded = load(
        tmp_path,
        text,
        environment={"ISOBRIDGE_TARGETS__ARCHIVE__PASSWORD": "hush-hush"},
        overrides=["targets.archive.uploads=2"],
    )
    embedded, archive, research = loaded.settings.targets
    assert embedded.enabled
    assert (archive.kind, archive.uploads, archive.password) == ("orthanc", 2, "hush-hush")
    assert (research.kind, research.token_file) == ("fhir_server", secret)
    assert loaded.origins["targets.archive.uploads"] == "--set"
    assert loaded.origins["targets.archive.url"].endswith("gateway.yaml:4:5")
    assert loaded.shown("targets.archive.password") == "***"
    assert loaded.shown("targets.archive.url") == "http://127.0.0.1:8042"
    assert "hush-hush" not in repr(loaded)


def test_the_embedded_store_goes_only_when_it_is_told_to() -> None:
    loaded = config.load(None, overrides=[*ARCHIVE, "targets.embedded.kind=embedded", "targets.embedded.enabled=false"])
    assert [(target.name, target.enabled) for target in loaded.settings.targets] == [("archive", True), ("embedded", False)]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("targets.archive.urll=x", "did you mean 'url'?"),
        ("targets.archive.ids=ours", "means nothing for a target of kind orthanc"),
        ("targets.archive.kind=pacs", "must be one of embedded, orthanc, fhir_server"),
        ("targets.archive.url=127.0.0.1:8042", "must look like https://host:port/path"),
        ("targets.archive.url=http://me:secret@127.0.0.1", "must not hold credentials"),
        ("targets.archive.username=me", "and a password belong together"),
        ("targets.archive.password=x", "does not belong where others can read it"),
        ("targets.archive.password_file=/no/such/file", "which is no file"),
        ("targets.archive.uploads=0", "must be 1 or more"),
        ("targets.archive.dicomweb_path=../tools", "a path below url"),
        ("targets.archive.dicomweb_path=/dicom-web", "a path below url"),
        ("targets.archive.dicomweb_proxy=everything", "must be one of auto, departed, all, off"),
        ("targets.archive=orthanc", "must hold 'key: value' lines"),
        ("targets.other.url=http://127.0.0.1", "targets.other.kind is missing"),
        ("targets.second.kind=embedded", "there is one embedded store"),
        ("targets.embedded.kind=orthanc", "choose another name"),
    ],
)
def test_a_wrong_target_is_refused_with_the_reason(override: str, complaint: str) -> None:
    assert any(complaint in line for line in complaints([*ARCHIVE, override]))


def test_an_archive_of_originals_answers_for_what_has_left_and_no_other_does() -> None:
    def proxied(*more: str) -> str:
        return next(
            one.proxied for one in config.load(None, overrides=[*ARCHIVE, *more]).settings.targets if one.name == "archive"
        )

    assert proxied() == "departed"
    assert proxied("targets.archive.dicomweb_proxy=all") == "all"
    for off in ("send=normalised", "dicomweb_proxy=off", "enabled=false"):
        assert proxied(f"targets.archive.{off}") == "off"
    told = complaints([*ARCHIVE, "targets.archive.send=normalised", "targets.archive.dicomweb_proxy=departed"])
    assert any("dicomweb_proxy needs send: original" in line for line in told)


def test_every_mistake_of_every_target_is_told_at_once() -> None:
    told = complaints([*ARCHIVE, "targets.archive.uploads=many", "targets.research.kind=fhir_server", "gather.quiet_secs=soon"])
    assert any("targets.archive.uploads must be a whole number" in line for line in told)
    assert any("targets.research.url is missing" in line for line in told)
    assert any("gather.quiet_secs" in line for line in told)


def test_a_secret_is_never_part_of_a_complaint() -> None:
    told = complaints([*ARCHIVE], environment={"ISOBRIDGE_TARGETS__ARCHIVE__PASSWORD": "hush-hush"})
    assert told
    assert not any("hush-hush" in line for line in told)
