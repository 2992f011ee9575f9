"""Promises of STOW-RS over a real socket: what is answered as stored has its file and its row, and everything else is told clearly."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import os
import re
import select
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, RawDataStorage, RLELossless

from gateway.errors import Retryable
from gateway.web import stow, stow_bulk, stow_json
from gateway.web.passwords import hash_password, hash_token, new_token
from tests.builders import nm, part10, pet, pet_series, uid
from tests.web_site import TIMEOUT_SECS, Site, wait_until

BOUNDARY = "the-boundary"
PATH = "/dicom-web/studies"
JSON = "application/dicom+json"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path)
    yield running
    running.close()


def message(parts: Sequence[tuple[dict[str, str], bytes]]) -> bytes:
    body = b""
    for headers, content in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body += f"--{BOUNDARY}\r\n{lines}\r\n".encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def files(*contents: bytes) -> bytes:
    return message([({"Content-Type": "application/dicom"}, content) for content in contents])


def content_type(kind: str = "application/dicom") -> str:
    return f'multipart/related; type="{kind}"; boundary={BOUNDARY}'


def post(site: Site, body: Any, *, path: str = PATH, kind: str = "application/dicom", **headers: str) -> requests.Response:
    given = {"Content-Type": content_type(kind), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return requests.post(f"{site.url}{path}", data=body, headers=given, timeout=TIMEOUT_SECS)


def digest_of(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> str:
    """As C-STORE would compute it."""
    from gateway.dicom.reading import read_file_meta

    body = part10(dataset, transfer_syntax_uid=syntax)
    return hashlib.sha256(syntax.encode() + body[read_file_meta(body)[1] :]).hexdigest()


def rows(site: Site) -> list[dict[str, Any]]:
    return [
        item for state in ("received", "normalised", "conflict", "quarantined") for item in site.ledger.overview.instances(state)
    ]


def temporaries(site: Site) -> list[Path]:
    return list(site.settings.spool_directory.rglob("*.part"))


def failures(answer: requests.Response) -> list[int]:
    return [
        item["00081197"]["Value"][0] for key in ("00081198", "0008119A") for item in answer.json().get(key, {}).get("Value", [])
    ]


def test_files_are_stored_with_the_digest_that_c_store_gives_them(site: Site) -> None:
    slices = list(pet_series(3))
    answer = post(site, files(*map(part10, slices)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    module = answer.json()
    assert [item["00081155"]["Value"][0] for item in module["00081199"]["Value"]] == [one.SOPInstanceUID for one in slices]
    study = f"{site.url}{PATH}/{slices[0].StudyInstanceUID}"
    assert module["00081190"]["Value"] == [study]
    assert {item["digest"] for item in rows(site)} == {digest_of(one) for one in slices}
    site.work()
    back = requests.get(
        module["00081199"]["Value"][1]["00081190"]["Value"][0], headers={"Accept": "application/dicom"}, timeout=30
    )
    assert dcmread(io.BytesIO(back.content)) == dcmread(io.BytesIO(part10(slices[1])))
    (found,) = site.ledger.overview.find(slices[0].SOPInstanceUID)
    assert [(item["door"], item["calling_ae"], item["called_ae"], item["peer"]) for item in found["arrivals"]] == [
        ("stow", "", "ISOBRIDGE", "127.0.0.1")
    ]


def test_the_same_again_is_success_and_changes_nothing(site: Site) -> None:
    site.put(pet())
    site.work()
    before = site.ledger.overview.counts()
    assert post(site, files(part10(pet()))).status_code == 200
    site.work()
    after = site.ledger.overview.counts()
    assert after["arrivals"] == before["arrivals"] + 1
    assert {**after, "arrivals": 0, "doors": 0} == {**before, "arrivals": 0, "doors": 0}


def test_another_content_of_a_known_uid_is_taken_and_held_as_from_a_scanner(site: Site) -> None:
    site.put(pet())
    assert post(site, files(part10(pet(PatientWeight="81")))).status_code == 200
    assert [item["state"] for item in rows(site)] == ["received", "conflict"]


@pytest.mark.parametrize("accept", ["application/dicom+xml", "application/dicom+xml;q=1, application/dicom+json;q=0.1"])
def test_the_answer_is_xml_where_that_is_asked_for(site: Site, accept: str) -> None:
    answer = post(site, files(part10(pet())), Accept=accept)
    assert answer.headers["content-type"] == "application/dicom+xml"
    assert re.search(rf'tag="00081155" vr="UI"[^>]*><Value number="1">{re.escape(pet().SOPInstanceUID)}</Value>', answer.text)


def test_an_object_of_another_study_is_refused_and_kept_for_a_person(site: Site) -> None:
    answer = post(site, files(part10(pet())), path=f"{PATH}/1.2.3")
    assert answer.status_code == 409
    assert failures(answer) == [0xA900]
    assert "study" in answer.headers["warning"]
    assert [item["state"] for item in rows(site)] == ["quarantined"]
    assert post(site, files(part10(pet())), path=f"{PATH}/{pet().StudyInstanceUID}").status_code == 200


def test_some_good_some_bad_is_202_and_names_both(site: Site) -> None:
    cut = part10(pet(SOPInstanceUID=uid("cut")))[:-10]
    odd = part10(pet()).replace(pet().SOPInstanceUID.encode(), b"1.2.3.\xe9" + b"4" * (len(pet().SOPInstanceUID) - 7))
    raw = part10(pet(SOPInstanceUID=uid("raw"), SOPClassUID=RawDataStorage))
    answer = post(site, message([
        ({"Content-Type": "application/dicom"}, part10(pet())),
        ({"Content-Type": "application/dicom"}, cut),
        ({"Content-Type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}, raw),
        ({"Content-Type": "text/plain"}, b"hello"),
        ({"Content-Type": "application/dicom"}, b"no DICOM at all, in no way"),
        ({"Content-Type": "application/dicom"}, odd),
        ({}, part10(pet(SOPInstanceUID=uid("second")))),
    ]))  # fmt: skip
    assert answer.status_code == 202
    assert len(answer.json()["00081199"]["Value"]) == 2
    assert sorted(failures(answer)) == [0x0122, 0xA900, 0xC000, 0xC000, 0xC000]
    named = {item["00081155"]["Value"][0] for item in answer.json()["00081198"]["Value"]}
    assert named == {uid("raw")}, "an identifier that is none is not told, least of all altered"
    assert sorted(item["state"] for item in rows(site)) == ["quarantined"] * 3 + ["received"] * 2


@pytest.mark.parametrize(
    ("given", "body", "code"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=x', b"", 415),
        ('multipart/related; type="application/dicom"', b"", 400),
        (content_type(), b"", 400),
        (content_type(), files(), 400),
        (content_type(), b"no multipart message", 400),
        (content_type(), files(b"x" * 20)[:-40], 400),
        (content_type("application/dicom+json"), message([({"Content-Type": "application/dicom+json"}, b"[1")]), 400),
        (content_type("application/dicom+json"), files(b"x"), 400),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_400_or_415(site: Site, given: str, body: bytes, code: int) -> None:
    answer = requests.post(f"{site.url}{PATH}", data=body, headers={"Content-Type": given}, timeout=TIMEOUT_SECS)
    assert answer.status_code == code, answer.text
    assert (rows(site), temporaries(site)) == ([], [])


def test_a_cut_message_keeps_what_came_whole(site: Site) -> None:
    body = files(part10(pet()), part10(pet(SOPInstanceUID=uid("second"))))
    answer = post(site, body[:-2000])
    assert answer.status_code == 202
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert temporaries(site) == []


def test_a_single_file_needs_no_multipart(site: Site) -> None:
    answer = requests.post(f"{site.url}{PATH}", data=part10(pet()), headers={"Content-Type": "application/dicom"}, timeout=30)
    assert answer.status_code == 200
    assert {item["digest"] for item in rows(site)} == {digest_of(pet())}


def test_documents_pass(site: Site) -> None:
    document = pet(SOPClassUID=EncapsulatedPDFStorage, Modality="DOC", EncapsulatedDocument=b"%PDF-1.7 invented ")
    assert post(site, files(part10(document))).status_code == 200


def test_other_sites_and_other_accept_headers_are_refused_before_the_body(site: Site) -> None:
    assert post(site, files(part10(pet())), Origin="https://elsewhere.example").status_code == 403
    assert post(site, files(part10(pet())), Sec_Fetch_Site="cross-site").status_code == 403
    assert post(site, files(part10(pet())), Accept="text/html").status_code == 406
    assert post(site, files(part10(pet())), Content_Encoding="gzip").status_code == 415
    assert rows(site) == []


def test_only_names_that_are_listed_may_store(tmp_path: Path) -> None:
    reader, writer = new_token(), new_token()
    web = {"users": {"anna": hash_password("secret words")}, "tokens": {"reader": hash_token(reader), "pacs": hash_token(writer)}}
    running = Site(tmp_path, web={**web, "stow_senders": ("pacs", "anna")})
    try:
        body = files(part10(pet()))
        assert post(running, body).status_code == 401
        assert post(running, body, Authorization=f"Bearer {reader}").status_code == 403
        assert rows(running) == []
        assert post(running, body, Authorization=f"Bearer {writer}").status_code == 200
        basic = base64.b64encode(b"anna:secret words").decode()
        assert post(running, body, Authorization=f"Basic {basic}").status_code == 200
        (found,) = running.ledger.overview.find(pet().SOPInstanceUID)
        assert [item["calling_ae"] for item in found["arrivals"]] == ["pacs", "anna"]
    finally:
        running.close()


def test_a_ledger_that_cannot_be_written_is_503_and_a_disk_without_room_507(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwritable(*_: object) -> None:
        raise Retryable("The ledger is locked.")

    with monkeypatch.context() as patch:
        patch.setattr(type(site.ledger.intake), "record_arrivals", unwritable)
        answer = post(site, files(part10(pet())))
        assert (answer.status_code, failures(answer)) == (503, [0xA700])
    with monkeypatch.context() as patch:
        patch.setattr(site.files, "_reserve_bytes", 1 << 60)
        patch.setattr(site.files, "_space_known_until", 0.0)
        answer = post(site, files(part10(pet())))
        assert (answer.status_code, failures(answer), answer.headers["retry-after"]) == (507, [0xA700], "30")
    assert post(site, files(part10(pet()))).status_code == 200


def test_too_much_is_413_and_one_object_too_large_is_refused_alone(tmp_path: Path) -> None:
    running = Site(tmp_path, web={"stow_max_request_megabytes": 1})
    try:
        large = part10(nm(Rows=1024, Columns=1024, PixelData=bytes(2 * 1024 * 1024 * 2)))
        assert post(running, files(large)).status_code == 413
        assert post(running, iter([files(large)])).status_code == 413
        assert temporaries(running) == []
    finally:
        running.close()


@pytest.mark.needs("root")
def test_a_disk_that_fills_while_an_object_comes_takes_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_disk = tmp_path / "disk"
    small_disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small_disk)], check=True)
    try:
        running = Site(small_disk)
        monkeypatch.setattr(running.files, "_reserve_bytes", 0)
        large = [
            part10(nm(SOPInstanceUID=uid(f"large/{n}"), Rows=2048, Columns=1024, PixelData=bytes(8 << 20))) for n in range(4)
        ]
        answer = post(running, files(*large))
        assert answer.status_code == 202
        assert failures(answer) == [0xA700, 0xA700]
        assert post(running, files(large[3])).status_code == 507
        assert len(rows(running)) == 2
        assert temporaries(running) == []
        running.close()
    finally:
        subprocess.run(["umount", "-l", str(small_disk)], check=True)


@pytest.mark.parametrize("kind", ["application/dicom", "application/dicom+json"])
def test_the_reserve_of_the_disk_is_kept_while_an_object_comes(site: Site, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Room for 3 MiB beside the reserve, told by what lies in the spool, in place of a disk of that size."""

    def statvfs(_: object) -> Any:
        used = sum(path.stat().st_size for path in temporaries(site))
        return SimpleNamespace(f_bavail=(64 << 20) + (3 << 20) - used, f_frsize=1)

    monkeypatch.setattr(os, "statvfs", statvfs)
    large = nm(Rows=2048, Columns=1024, PixelData=bytes(8 << 20))
    pixels = {"7FE00010": {"vr": "OW", "BulkDataURI": "x"}}
    bulk = {"Content-Type": "application/octet-stream", "Content-Location": "x"}
    in_json = message([({"Content-Type": JSON}, metadata(large, **pixels)), (bulk, large.PixelData)])
    answer = post(site, in_json if kind == JSON else files(part10(large)), kind=kind)
    assert answer.status_code == 507, answer.text
    assert (rows(site), temporaries(site)) == ([], [])
    assert post(site, files(part10(pet()))).status_code == 200


def connect(site: Site) -> socket.socket:
    parts = urlsplit(site.url)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=TIMEOUT_SECS)


def begin(peer: socket.socket, length: int, first: bytes, **more: str) -> None:
    given = {"Host": "127.0.0.1", "Content-Type": content_type(), "Content-Length": str(length), **more}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    peer.sendall(f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode() + first)


def test_a_client_that_goes_away_leaves_nothing_but_what_was_whole(site: Site) -> None:
    large = part10(nm(SOPInstanceUID=uid("large"), Rows=1024, Columns=1024, PixelData=bytes(2 * 1024 * 1024 * 2)))
    with connect(site) as peer:
        begin(peer, len(large) * 2, files(large)[: len(large) - 1000])
        wait_until(lambda: temporaries(site))
    wait_until(lambda: not temporaries(site))
    assert rows(site) == []


def test_one_sender_has_some_of_the_places_and_all_together_no_more_than_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_token, other_token = new_token(), new_token()
    web = {"tokens": {"slow": hash_token(slow_token), "other": hash_token(other_token)}, "stow_senders": ("slow", "other")}
    running = Site(tmp_path, web=web)
    held: list[socket.socket] = []

    def store(token: str) -> int:
        return post(running, files(part10(pet())), Authorization=f"Bearer {token}").status_code

    def hold() -> None:
        held.append(connect(running))
        begin(held[-1], 10_000_000, files(part10(pet()))[:50], Authorization=f"Bearer {slow_token}")

    def are_all_held() -> bool:
        refused = select.select(held, [], [], 0)[0]  # our own storing had its place when it came
        for peer in refused:
            held.remove(peer)
            peer.close()
            hold()
        return store(slow_token) == 503

    try:
        for _ in range(stow.PLACES_OF_ONE):
            hold()
        wait_until(are_all_held)
        assert store(other_token) == 200
        with monkeypatch.context() as patch:
            patch.setattr(stow, "PLACES", stow.PLACES_OF_ONE)
            assert store(other_token) == 503
        held.pop().close()
        wait_until(lambda: store(slow_token) == 200)
    finally:
        for peer in held:
            peer.close()
        running.close()


def test_who_does_not_keep_the_pace_is_told_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = functools.partial(stow.StowSettings, idle_timeout_secs=0.2)
    monkeypatch.setattr("gateway.web.app.StowSettings", hasty)
    running = Site(tmp_path)
    try:
        with connect(running) as peer:
            begin(peer, 10_000_000, files(part10(pet()))[:50])
            assert b" 408 " in peer.makefile("rb").readline()
        assert (rows(running), temporaries(running)) == ([], [])
    finally:
        running.close()


def metadata(dataset: Dataset, **elements: Any) -> bytes:
    found = json.loads(dataset.to_json())
    return json.dumps([{**found, **elements}]).encode()


def test_metadata_with_bulk_data_becomes_the_object_that_it_was(site: Site) -> None:
    original = pet()
    pixels = {"7FE00010": {"vr": "OW", "BulkDataURI": "bulk/pixels"}}
    headers = {"Content-Type": "application/octet-stream", "Content-Location": "bulk/pixels"}
    parts = [({"Content-Type": JSON}, metadata(original, **pixels)), (headers, original.PixelData)]
    answer = post(site, message(parts), kind=JSON)
    assert answer.status_code == 200, answer.text
    (row,) = rows(site)
    stored = dcmread(site.files.locate(row["day"], row["digest"]))
    assert stored.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert stored.SpecificCharacterSet == "ISO_IR 192"
    for one in (stored, original):
        del one.SpecificCharacterSet
    assert json.loads(stored.to_json()) == json.loads(original.to_json())
    again = post(site, message(parts[::-1]), kind=JSON)
    assert again.status_code == 200
    assert len(rows(site)) == 1, "the same metadata in another order of parts is the same object"


def test_compressed_frames_keep_their_encoding(site: Site) -> None:
    original = nm(NumberOfFrames=2)
    part10(original)
    original.compress(RLELossless, generate_instance_uid=False)
    frames = list(generate_frames(original.PixelData, number_of_frames=2))
    pixels = {"7FE00010": {"vr": "OW", "BulkDataURI": "http://elsewhere/frames-of-it"}}
    kind = "image/dicom-rle"
    parts = [({"Content-Type": JSON}, metadata(original, **pixels))]
    for number, frame in enumerate(frames, 1):
        parts.append(({"Content-Type": kind, "Content-Location": f"http://elsewhere/frames-of-it/frames/{number}"}, frame))
    answer = post(site, message(parts), kind=JSON)
    assert answer.status_code == 200, answer.text
    (row,) = rows(site)
    stored = dcmread(site.files.locate(row["day"], row["digest"]))
    assert stored.file_meta.TransferSyntaxUID == RLELossless
    assert list(generate_frames(stored.PixelData, number_of_frames=2)) == frames
    assert (stored.pixel_array == original.pixel_array).all()
    assert failures(post(site, message(parts[:2]), kind=JSON)) == [0xC000], "a frame is missing"


def test_several_objects_in_one_array_are_judged_one_by_one(site: Site) -> None:
    good, lost = pet(), pet(SOPInstanceUID=uid("lost"))
    items = [json.loads(one.to_json()) for one in (good, lost)]
    items[1]["7FE00010"] = {"vr": "OW", "BulkDataURI": "nowhere"}
    body = json.dumps([*items, 7, {"00080018": {"vr": "UI", "Value": [3]}}]).encode()
    answer = post(site, message([({"Content-Type": JSON}, body)]), kind=JSON)
    assert answer.status_code == 202
    assert failures(answer) == [0xC000, 0xC000, 0xC000]
    assert answer.json()["00081198"]["Value"][0]["00081155"]["Value"] == [lost.SOPInstanceUID]
    assert [item["sop_instance_uid"] for item in rows(site)] == [good.SOPInstanceUID]
    assert temporaries(site) == []


def test_a_message_does_not_become_much_more_than_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stow_bulk, "_SHARED_MOST_BYTES", 1 << 20)
    pixels = {"vr": "OW", "BulkDataURI": "x"}
    items = [json.loads(pet(SOPInstanceUID=uid(f"shared/{n}")).to_json()) | {"7FE00010": pixels} for n in range(10)]
    bulk = {"Content-Type": "application/octet-stream", "Content-Location": "x"}
    answer = post(site, message([({"Content-Type": JSON}, json.dumps(items).encode()), (bulk, bytes(500 << 10))]), kind=JSON)
    assert answer.status_code == 202
    assert failures(answer) == [0xC000] * 7
    assert len(rows(site)) == 3
    monkeypatch.setattr(stow_bulk, "_NAMES_MOST_LETTERS", 10_000)
    parts: list[tuple[dict[str, str], bytes]] = [({"Content-Type": JSON}, metadata(pet()))]
    parts += [({"Content-Type": "application/octet-stream", "Content-Location": f"{n:05000}"}, b"") for n in range(3)]
    assert post(site, message(parts), kind=JSON).status_code == 413
    monkeypatch.setattr(stow_json, "OBJECTS_MOST", 1)
    both = json.dumps([json.loads(one.to_json()) for one in pet_series(2)]).encode()
    answer = post(site, message([({"Content-Type": JSON}, both)]), kind=JSON)
    assert answer.status_code == 202
    assert len(rows(site)) == 4
