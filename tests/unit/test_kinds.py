"""Which mapping takes which object: every SOP class that the guide names, vendor rules behind a PACS, and every real sample file."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset

from gateway.dicom.reading import header_of, read_header
from gateway.errors import Quarantined
from gateway.mapping.example import encode
from gateway.mapping.language import load
from gateway.mapping.rules import Mapping
from gateway.model import Json, Record
from gateway.normalise.record import SharedCache, SiteContext, normalise
from tests.builders import part10, pet
from tests.conftest import data_directory
from tests.unit.mapping_files import SHIPPED

MAPPINGS = load(SHIPPED)
SITE = SiteContext(timezone=ZoneInfo("Europe/Brussels"))

#: SOP class -> mapping, for an object that says nothing else.
KINDS = {
    "PositronEmissionTomographyImageStorage": "pet_image",
    "EnhancedPETImageStorage": "enhanced_pet",
    "LegacyConvertedEnhancedPETImageStorage": "enhanced_pet",
    "NuclearMedicineImageStorage": "nm_image",
    "CTImageStorage": "ct_image",
    "EnhancedCTImageStorage": "ct_image",
    "RadiopharmaceuticalRadiationDoseSRStorage": "dose_report",
    "XRayRadiationDoseSRStorage": "xray_dose_report",
    "EnhancedXRayRadiationDoseSRStorage": "xray_dose_report",
    "PatientRadiationDoseSRStorage": "patient_dose_report",
    "BasicTextSRStorage": "measurement_report",
    "EnhancedSRStorage": "measurement_report",
    "ComprehensiveSRStorage": "measurement_report",
    "Comprehensive3DSRStorage": "measurement_report",
    "KeyObjectSelectionDocumentStorage": "key_objects",
    "RTDoseStorage": "rt_dose",
    "RTStructureSetStorage": "rt_structure_set",
    "RTPlanStorage": "rt_plan",
    "SegmentationStorage": "segmentation",
    "SurfaceSegmentationStorage": "segmentation",
    "ParametricMapStorage": "parametric_map",
    "RealWorldValueMappingStorage": "real_world_values",
    "SecondaryCaptureImageStorage": "secondary_capture",
    "MultiFrameTrueColorSecondaryCaptureImageStorage": "secondary_capture",
    "EncapsulatedPDFStorage": "encapsulated_pdf",
    "RawDataStorage": "raw_data",
    "SpatialRegistrationStorage": "raw_data",
    "MRImageStorage": "image",
}
NM_KINDS = {
    "STATIC": "nm_image",
    "DYNAMIC": "nm_image",
    "WHOLE BODY": "nm_whole_body",
    "TOMO": "nm_spect",
    "RECON TOMO": "nm_spect",
    "GATED": "nm_gated",
    "GATED TOMO": "nm_gated",
    "RECON GATED TOMO": "nm_gated",
}
PET_MAKERS = {
    "GE MEDICAL SYSTEMS": "ge_pet",
    "GE HEALTHCARE": "ge_pet",
    "SIEMENS": "siemens_pet",
    "Siemens Healthineers": "siemens_pet",
    "Philips Medical Systems": "philips_pet",
    "PHILIPS": "philips_pet",
    "UIH": "pet_image",
}


def chosen(**values: Json) -> str:
    return MAPPINGS.for_header(header_of(encode(values))).name


@pytest.mark.parametrize(("sop_class", "mapping"), KINDS.items())
def test_a_sop_class_has_its_mapping(sop_class: str, mapping: str) -> None:
    assert chosen(SOPClassUID=sop_class) == mapping


@pytest.mark.parametrize(("kind", "mapping"), NM_KINDS.items())
def test_the_kind_of_a_gamma_camera_scan_decides(kind: str, mapping: str) -> None:
    assert chosen(SOPClassUID="NuclearMedicineImageStorage", ImageType=["ORIGINAL", "PRIMARY", kind, "EMISSION"]) == mapping


@pytest.mark.parametrize(("manufacturer", "mapping"), PET_MAKERS.items())
def test_a_vendors_rules_follow_its_name_and_not_who_sent_it(manufacturer: str, mapping: str) -> None:
    """A study that a PACS forwards comes with the PACS's AE title; nothing of the choice depends on it."""
    assert chosen(SOPClassUID="PositronEmissionTomographyImageStorage", Manufacturer=manufacturer) == mapping
    used = {rule.key for mapping in MAPPINGS if mapping.name != "example" for rule in mapping.conditions}
    assert not used & {"calling_ae", "called_ae"}


def test_the_example_of_a_site_acts_on_no_real_scanner() -> None:
    assert (
        chosen(SOPClassUID="PositronEmissionTomographyImageStorage", Manufacturer="GE MEDICAL SYSTEMS", StationName="PT1")
        == "ge_pet"
    )


def read(dataset: Dataset) -> Record:
    header = header_of(part10(dataset))
    return normalise(header, MAPPINGS.for_header(header), SITE, SharedCache(1))


def with_block(dataset: Dataset, group: int, creator: str, values: dict[int, tuple[str, Json]], *, blocks_before: int) -> Dataset:
    """A private block behind others, as scanners with options number them."""
    for number in range(blocks_before):
        dataset.private_block(group, f"OTHER {number}", create=True).add_new(0, "LO", "not ours")
    block = dataset.private_block(group, creator, create=True)
    for element, (vr, value) in values.items():
        block.add_new(element, vr, value)
    return dataset


@pytest.mark.parametrize("blocks_before", [0, 1, 7, 200])
def test_the_private_suv_factor_of_philips_is_found_at_any_block_offset(blocks_before: int) -> None:
    dataset = pet(Manufacturer="Philips Medical Systems", Units="CNTS")
    factors: dict[int, tuple[str, Json]] = {0x00: ("DS", "0.000551"), 0x09: ("DS", "1.6")}
    record = read(with_block(dataset, 0x7053, "Philips PET Private Group", factors, blocks_before=blocks_before))
    assert record.shared.mapping == "philips_pet"
    facts = record.shared.series["pet"]
    assert (str(facts["suv_factor"]), str(facts["activity_concentration_factor"])) == ("0.000551", "1.6")


@pytest.mark.parametrize("blocks_before", [0, 3])
def test_the_private_tracer_fields_of_ge_are_read_in_their_own_value_representations(blocks_before: int) -> None:
    dataset = pet(Manufacturer="GE MEDICAL SYSTEMS", SeriesDate="20240513", SeriesTime="110036", StudyDate="20240513")
    (item,) = dataset.RadiopharmaceuticalInformationSequence
    for keyword in [element.keyword for element in item if element.keyword != "RadionuclideTotalDose"]:
        delattr(item, keyword)
    fields: dict[int, tuple[str, Json]] = {
        0x36: ("LO", "FDG -- fluorodeoxyglucose"),
        0x38: ("FL", 481.0),
        0x3B: ("DT", "20240513093200.00"),
        0x3C: ("FL", 0.37),
        0x3E: ("SH", "18F"),
        0x3F: ("FL", 6588.0),
    }
    (administration,) = read(
        with_block(dataset, 0x0009, "GEMS_PETD_01", fields, blocks_before=blocks_before)
    ).shared.administrations
    assert administration["agent"]["code"] == "35321007"
    assert administration["radionuclide"]["text"] == "F-18"
    assert administration["half_life"] == {"value": 6588, "unit": "s"}
    assert administration["started_at"].startswith("2024-05-13T09:32:00")
    assert [str(administration[name]["value"]) for name in ("measured_before", "measured_after")] == ["481", "0.37"]


#: Folder of the samples -> how many of its files which mapping takes; ``-`` are those that no mapping or no reader takes.
SAMPLES: dict[str, dict[str, int]] = {
    "ct": {"ct_image": 3},
    "nm": {"nm_spect": 3, "nm_whole_body": 1, "secondary_capture": 2},
    # "image": magnetic resonance, a class of nobody's, and fragments without a SOP class
    "odd": {
        "-": 5,
        "ct_image": 3,
        "dose_sheet": 1,
        "ge_pet": 6,
        "image": 13,
        "rt_dose": 4,
        "rt_plan": 1,
        "rt_structure_set": 1,
        "secondary_capture": 7,
        "measurement_report": 2,
    },
    # "image": a colour palette; "pet_image": a Siemens whose maker was taken out with the patient
    "pet": {"ct_image": 12, "ge_pet": 55, "image": 1, "pet_image": 2, "rt_structure_set": 1, "siemens_pet": 5},
    "rdsr": {"xray_dose_report": 12},
    "rrdsr": {"siemens_dose_report": 1},
    "rt": {"ct_image": 1, "rt_dose": 6, "rt_plan": 2, "rt_structure_set": 4},
    "sc": {"dose_sheet": 1, "encapsulated_pdf": 1, "secondary_capture": 1},
    "seg": {"parametric_map": 1, "segmentation": 4},
    "sr": {"key_objects": 1, "real_world_values": 1, "segmentation": 1, "measurement_report": 6},
}


def kind_of(path: Path) -> str:
    try:
        header = read_header(path)
        return MAPPINGS.for_header(header).name
    except Quarantined:
        return "-"


@pytest.mark.needs("data")
def test_every_sample_goes_to_a_mapping_that_names_its_kind() -> None:
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for path in sorted(data_directory().rglob("*.dcm")):
        found[path.relative_to(data_directory()).parts[0]][kind_of(path)] += 1
    assert {folder: dict(counts) for folder, counts in found.items()} == SAMPLES


def understood(path: Path) -> tuple[Mapping, Record] | str:
    """The record of a file with the mapping that made it, or the reason why there is none."""
    try:
        header = read_header(path)
        mapping = MAPPINGS.for_header(header)
        return mapping, normalise(header, mapping, SITE, SharedCache(1))
    except Quarantined as error:
        return error.reason


@pytest.mark.needs("data")
def test_every_sample_gives_a_record_or_a_reason_and_no_value_outside_its_range() -> None:
    counts = {"record": 0, "reason": 0}
    for path in sorted(data_directory().rglob("*.dcm")):
        found = understood(path)
        if isinstance(found, str):
            counts["reason"] += 1
            assert found.endswith(".")
            continue
        counts["record"] += 1
        mapping, record = found
        levels = {"series": record.shared.series, "instance": record.instance}
        for rule in mapping.fields:
            if rule.range is not None and rule.level in levels:
                value: Json = levels[rule.level]
                for key in rule.keys:
                    value = value.get(key, {})
                assert not value or rule.range[0] <= value["value"] <= rule.range[1]
    assert counts == {"record": 156, "reason": 15}
