"""Which mapping an object goes to: every key of ``match``, the rank, what cannot be told apart, and what the choice costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.headers import DatasetHeader
from gateway.errors import Quarantined
from gateway.mapping.conflicts import could_both_fit
from gateway.mapping.example import opened
from gateway.mapping.language import Mapping, load
from gateway.mapping.matching import Chooser, MatchRule
from gateway.mapping.patterns import regex, starred
from tests.unit.mapping_files import complaints, directory, read

BASE = "match: everything\nfields:\n  series.modality: {from: Modality, as: code}\n"


def chosen(path: Path, given: dict[str, Any], **files: str) -> str:
    return load(directory(path, **files)).for_header(opened({"Modality": "PT", **given})).name


def rules(path: Path, match: str) -> Mapping:
    return load(directory(path, one=f"match: {match}\nfields: {{series.modality: {{from: Modality, as: code}}}}\n")).named("one")


@pytest.mark.parametrize(
    ("match", "given"),
    [
        ('{model: {regex: "discovery (st|mi).*"}}', {"ManufacturerModelName": "Discovery MI DR"}),
        ('{manufacturer: "ge medical*"}', {"Manufacturer": "GE MEDICAL SYSTEMS"}),
        ("{serial: SN-9}", {"DeviceSerialNumber": "sn-9 "}),
        ("{station: [PETCT1, PETCT2]}", {"StationName": "PETCT2"}),
        ('{software: "VG8*"}', {"SoftwareVersions": ["1.2", "VG80A"]}),
        ("{'ImageType[2]': [RECON TOMO]}", {"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO"]}),
        ("{calling_ae: PETCT1}", {"arrival": {"calling_ae": "PETCT1"}}),
        ("{called_ae: ISO*}", {"arrival": {"called_ae": "ISOBRIDGE"}}),
        ("{private_creator: GEMS_PETD_01}", {"(0009,xx01)[OTHER]": "x", "(0009,xx38)[GEMS_PETD_01]": "1"}),
        ("{InstitutionName: Hôpital*}", {"SpecificCharacterSet": "ISO_IR 192", "InstitutionName": "Hôpital Exemple"}),
        ("{InstitutionName: Hôpital*}", {"SpecificCharacterSet": "ISO_IR 100", "InstitutionName": "Hôpital Exemple"}),
    ],
)
def test_every_word_of_match_chooses(tmp_path: Path, match: str, given: dict[str, Any]) -> None:
    site = f"extends: base\nmatch: {match}\n"
    assert chosen(tmp_path / "fits", given, base=BASE, site=site) == "site"
    other = {"arrival": {"calling_ae": "OTHER"}, "ImageType": ["RECON TOMO", "PRIMARY", "AXIAL"]}
    assert chosen(tmp_path / "not", other, base=BASE, site=site) == "base"


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("fits", "not"):
        (tmp_path / name).mkdir()


def test_priority_counts_before_depth_and_depth_before_conditions(tmp_path: Path) -> None:
    deep = "extends: base\nmatch: {StationName: P*}\n"
    wide = "match: {Modality: PT, Manufacturer: X*}\n"
    high = "match: {Modality: PT}\npriority: 1\n"
    given = {"StationName": "P1", "Manufacturer": "X"}
    assert chosen(tmp_path / "fits", given, base=BASE, deep=deep, wide=wide) == "deep"
    assert chosen(tmp_path / "not", given, base=BASE, deep=deep, wide=wide, high=high) == "high"


def test_several_bases_give_all_their_keys_and_the_later_one_wins(tmp_path: Path) -> None:
    one = "match: nothing\nfields:\n  study.a: {from: StudyID, as: text}\n  study.b: {from: StudyID, as: text}\n"
    two = "match: nothing\nfields:\n  study.b: {from: AccessionNumber, as: text}\n"
    heir = "extends: [one, two]\nmatch: {Modality: PT}\n"
    mapping = load(directory(tmp_path, one=one, two=two, heir=heir)).named("heir")
    record = read(mapping, {"StudyID": "S", "AccessionNumber": "A", "Modality": "PT"})
    assert record.shared.study == {"a": "S", "b": "A"}
    assert (mapping.lineage, mapping.depth) == (("one", "two", "heir"), 2)


def test_null_takes_an_inherited_key_away_and_nothing_else(tmp_path: Path) -> None:
    heir = "extends: base\nmatch: {Modality: PT}\nfields: {series.modality: null}\n"
    assert load(directory(tmp_path / "fits", base=BASE, heir=heir)).named("heir").fields == ()
    (told,) = complaints(tmp_path / "not", base=BASE, heir=heir.replace("series.modality", "series.modalty"))
    assert told == "heir.yaml:3:10: 'series.modalty' is not inherited: there is nothing to take away"


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("{Manufacturer: GE*}", "{Manufacturer: SIEMENS*}", False),
        ("{Manufacturer: '*GE'}", "{Manufacturer: '*MENS'}", False),
        ("{Manufacturer: GE*}", "{Manufacturer: G*}", True),
        ("{StationName: A}", "{StationName: [B, C]}", False),
        ("{StationName: A}", "{StationName: {regex: '[b-z]'}}", False),
        ("{StationName: {regex: 'a.*'}}", "{StationName: {regex: 'b.*'}}", True),
        ("{StationName: A}", "{Manufacturer: GE*}", True),
        ("{ImageType: A}", "{ImageType: B}", True),  # one object may hold both values
        ("{'ImageType[1]': A}", "{'ImageType[1]': B}", False),
        ("{private_creator: A}", "{private_creator: B}", True),
        ("{calling_ae: A}", "{calling_ae: B}", False),
    ],
)
def test_what_is_proven_to_be_apart(tmp_path: Path, one: str, other: str, both: bool) -> None:
    assert could_both_fit(rules(tmp_path / "fits", one), rules(tmp_path / "not", other)) is both


def test_two_mappings_of_equal_rank_must_say_which_one_counts(tmp_path: Path) -> None:
    files = {"base": BASE, "a": "extends: base\nmatch: {StationName: P1}\n", "b": "extends: base\nmatch: {Manufacturer: X*}\n"}
    (told,) = complaints(tmp_path / "fits", **files)
    assert told == (
        "b.yaml:2:1: the same objects are matched by 'a', of equal rank: if this one counts, write 'priority: 1' here;"
        " else match fewer objects here, by more keys or narrower values"
    )
    assert complaints(tmp_path / "not", **{**files, "b": files["b"] + "priority: 2\n"}) == []


def test_a_conflict_is_told_once_and_in_the_file_of_the_site(tmp_path: Path) -> None:
    vendors = {f"vendors__{name}": f"extends: base\nmatch: {{Manufacturer: {name.upper()}*}}\n" for name in ("ge", "philips")}
    (told,) = complaints(tmp_path, base=BASE, **vendors, sites__a="extends: base\nmatch: {StationName: P1}\n")
    assert told.startswith(
        "sites/a.yaml:2:1: the same objects are matched by 'ge', 'philips', of equal rank: if this one counts, "
    )


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("{Modalty: PT}", "'Modalty' is not a DICOM keyword (did you mean 'Modality'?)"),
        ("{statoin: A}", "did you mean 'station'?"),
        ("{Rows: '512'}", "'Rows' is not text: it cannot be matched"),
        ("{model: {regex: '(?=x)'}}", "not a regular expression of RE2"),
        ("{model: {regex: 'a{5000}'}}", "not a regular expression of RE2"),
        ("{model: {rgx: a}}", "is matched by a text, by {regex: ...}"),
        ("{manufacturer: A, Manufacturer: B}", "is matched twice"),
        ("{SOPClassUID: PositronImageStorage}", "is not a SOP class"),
        ("{'ProcedureCodeSequence[0].CodeValue': A}", "only standard elements of the top level can be matched"),
    ],
)
def test_a_match_that_cannot_be_right_is_told(tmp_path: Path, match: str, said: str) -> None:
    told = complaints(tmp_path, a=f"match: {match}\n")
    assert any(text.startswith("a.yaml:1:") and said in text for text in told), told


def test_no_mapping_for_an_object_quarantines_it(tmp_path: Path) -> None:
    mappings = load(directory(tmp_path, a="match: {Modality: CT}\n"))
    with pytest.raises(Quarantined, match="No mapping fits"):
        mappings.for_header(opened({"Modality": "PT"}))


def test_a_new_value_costs_the_rules_that_ask_for_it_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    station, number = 0x00081010, 0x00200013
    sites = [(MatchRule("StationName", station, None, (starred(f"S{n}*"),)),) for n in range(100)]
    chooser = Chooser([*sites, (MatchRule("InstanceNumber", number, None, (regex("[0-9]+"),)),)])
    looked: list[str] = []
    fits = MatchRule.fits
    monkeypatch.setattr(MatchRule, "fits", lambda rule, *given: looked.append(rule.key) or fits(rule, *given))  # type: ignore[func-returns-value]
    for slice_number in range(50):
        assert chooser.choose(opened({"StationName": "S99", "InstanceNumber": str(slice_number)})) in (9, 99)
    assert looked.count("StationName") == 100
    assert looked.count("InstanceNumber") == 50


def test_a_hostile_value_costs_neither_time_nor_memory() -> None:
    rule = MatchRule("StationName", 0x00081010, None, (regex("(a+)+$"), starred("*".join("a" * 40))))
    chooser = Chooser([(rule,)])
    started = time.process_time()
    for n in range(20):
        raw = b"a" * 60_000 + str(n).encode()
        assert chooser.choose(_Header(raw)) is None
    assert chooser.choose(_Header(b"a" * 1_000_000)) is None
    assert time.process_time() - started < 2
    assert all(len(part) <= 256 for key in chooser._chosen for part in key)


class _Header(DatasetHeader):
    """Nothing but a station name."""

    def __init__(self, value: bytes) -> None:
        super().__init__(Dataset())
        self.value = value

    def raw(self, tag: int) -> bytes:
        return self.value if tag == 0x00081010 else b""
