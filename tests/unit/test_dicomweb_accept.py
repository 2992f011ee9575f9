"""What a DICOMweb client says it accepts, and what that means (PS3.18 8.7)."""

from __future__ import annotations

import pytest

from gateway.config import Settings, Web
from gateway.errors import Rejected
from gateway.fhir.endpoint import endpoint, images_address
from gateway.r4.validate import validate
from gateway.target_settings import DEFAULT_TARGETS, TargetSettings
from gateway.web.dicomweb_accept import DICOM, choose, json_accepted, ranges

STORED = "1.2.840.10008.1.2.1"


def test_the_best_entry_comes_first_and_quoted_commas_do_not_divide() -> None:
    read = ranges('text/html;q=0.5, multipart/related; type="application/dicom"; transfer-syntax="1.2,3", image/*;q=0')
    assert [(item.media_type, item.part, item.transfer_syntax) for item in read] == [
        ("multipart/related", "application/dicom", "1.2,3"),
        ("text/html", "", ""),
    ]


@pytest.mark.parametrize(
    ("accept", "multipart"),
    [
        (None, True),
        ("*/*", True),
        ('multipart/related; type="application/dicom"', True),
        ("multipart/related; type=application/dicom; transfer-syntax=*", True),
        (f'multipart/related; type="application/dicom"; transfer-syntax={STORED}', True),
        ("application/dicom", False),
        ("application/dicom; transfer-syntax=*", False),
        ('application/dicom;q=0.2, multipart/related; type="application/dicom"', True),
    ],
)
def test_one_object_is_answered_as_it_is_wanted(accept: str | None, multipart: bool) -> None:
    as_multipart, welcome = choose(accept, DICOM, [STORED], single=True)
    assert (as_multipart, welcome(STORED)) == (multipart, True)


@pytest.mark.parametrize(
    ("accept", "single"),
    [
        ("application/dicom", False),
        ("text/html", True),
        ('multipart/related; type="image/jpeg"', True),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90', True),
        ("*/*;q=0", True),
    ],
)
def test_what_is_not_offered_is_406_with_what_is(accept: str, single: bool) -> None:
    with pytest.raises(Rejected, match=STORED) as caught:
        choose(accept, DICOM, [STORED], single=single)
    assert caught.value.status == 406


def test_json_is_wanted_by_browsers_and_clients_and_xml_is_not_offered() -> None:
    for accept in (None, "*/*", "application/json", "application/dicom+json", "text/html,application/xml;q=0.9,*/*;q=0.8"):
        json_accepted(accept)
    with pytest.raises(Rejected):
        json_accepted('multipart/related; type="application/dicom+xml"')


def test_the_endpoint_is_valid_fhir() -> None:
    assert validate(endpoint("e1", "https://isobridge.example/dicom-web")) == []


def test_an_image_target_with_an_address_of_its_own_is_where_images_are() -> None:
    archive = TargetSettings(
        name="archive", kind="orthanc", url="http://127.0.0.1:8042", dicomweb_url="https://orthanc.example/dicom-web/"
    )
    assert images_address(Settings(targets=(*DEFAULT_TARGETS, archive))) == "https://orthanc.example/dicom-web"
    assert images_address(Settings()) == "http://127.0.0.1:8080/dicom-web"
    assert images_address(Settings(web=Web(bind="127.0.0.1:0"))) is None
