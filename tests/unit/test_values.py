"""DICOM values become plain JSON, or a reason. Nothing is guessed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import values
from gateway.dicom.values import Invalid, TimeOfDay

BRUSSELS = ZoneInfo("Europe/Brussels")
FIRST, LAST = dt.datetime.fromisoformat("1950-01-01"), dt.datetime.fromisoformat("2100-01-01")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("20240229", "2024-02-29"),  # a leap day
        ("2024.02.29", "2024-02-29"),  # the form before DICOM 3
        ("202402", "2024-02"),  # partial stays partial
        ("1970", "1970"),
    ],
)
def test_a_date_keeps_the_precision_it_was_written_with(written: str, read: str) -> None:
    assert values.date(written) == read


@pytest.mark.parametrize("written", ["20230229", "00000000", "20241301", "2024-02-29 10", "20240101-20240201", "unknown", "24"])
def test_what_no_calendar_has_is_not_a_date(written: str) -> None:
    with pytest.raises(Invalid, match="is not a date"):
        values.date(written)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10", TimeOfDay(10)),
        ("1048", TimeOfDay(10, 48)),
        ("104830", TimeOfDay(10, 48, 30)),
        ("10:48:30", TimeOfDay(10, 48, 30)),  # the form before DICOM 3
        ("120736.246000", TimeOfDay(12, 7, 36, "246")),  # fractions are kept, empty digits are not
        ("104830.000000", TimeOfDay(10, 48, 30, "")),
        ("235960", TimeOfDay(23, 59, 60)),  # a leap second
        ("240000", TimeOfDay(0, 0, 0, "", 1)),  # the end of the day
    ],
)
def test_a_time_keeps_the_precision_it_was_written_with(written: str, read: TimeOfDay) -> None:
    assert values.time_of_day(written) == read


@pytest.mark.parametrize("written", ["25", "2401", "240001", "256100", "106100", "104861", "1", "10483", "104830.", "10h48"])
def test_what_no_clock_shows_is_not_a_time(written: str) -> None:
    with pytest.raises(Invalid, match="is not a time"):
        values.time_of_day(written)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("20220224104830.000000", "2022-02-24T10:48:30+01:00"),  # winter
        ("20220724104830.5", "2022-07-24T10:48:30.5+02:00"),  # summer
        ("20220224104830-0500", "2022-02-24T10:48:30-05:00"),  # its own offset counts
        ("202202241048", "2022-02-24T10:48:00+01:00"),  # FHIR allows zero seconds for unknown ones
        ("2022022410", "2022-02-24"),  # FHIR has no hours without minutes
        ("20220224", "2022-02-24"),
        ("202202", "2022-02"),
        ("2022", "2022"),
        ("20161231235960+0000", "2016-12-31T23:59:60+00:00"),  # a leap second stays visible
        ("20220224240000", "2022-02-25T00:00:00+01:00"),  # the end of a day is the next one's midnight
    ],
)
def test_a_date_time_becomes_fhir_with_its_zone(written: str, read: str) -> None:
    assert values.moment(written, BRUSSELS).text == read


@pytest.mark.parametrize("written", ["2022022", "20220224104830+2500", "20220224104830+0199", "2022-02-24T10:48:30", "20221324"])
def test_what_is_no_date_time_is_refused(written: str) -> None:
    with pytest.raises(Invalid):
        values.moment(written, BRUSSELS)


@pytest.mark.parametrize(
    "written",
    [
        "20240331023000",  # skipped: clocks went from 02:00 to 03:00
        "20241027023000",  # happened twice: clocks went back from 03:00 to 02:00
    ],
)
def test_a_local_time_inside_a_clock_change_gives_the_day_only(written: str) -> None:
    moment = values.moment(written, BRUSSELS)
    assert moment.text == f"{written[:4]}-{written[4:6]}-{written[6:8]}"
    assert moment.at is None
    assert "clock change" in str(moment.warning)


def test_a_date_older_than_time_zones_has_no_offset_to_show() -> None:
    assert values.moment("18600101120000", BRUSSELS).text == "1860-01-01"


def test_a_leap_second_counts_as_the_following_second() -> None:
    leap, after = values.moment("20161231235960+0000", BRUSSELS), values.moment("20170101000000+0000", BRUSSELS)
    assert leap.at == after.at


@given(st.datetimes(min_value=FIRST, max_value=LAST), st.integers(-720, 840))
def test_every_instant_survives_the_way_through_dicom(moment: dt.datetime, offset: int) -> None:
    aware = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=offset)))
    sign, size = ("-" if offset < 0 else "+"), abs(offset)
    written = f"{aware:%Y%m%d%H%M%S.%f}{sign}{size // 60:02}{size % 60:02}"
    read = values.moment(written, BRUSSELS)
    assert read.at == aware
    assert dt.datetime.fromisoformat(read.text) == aware


@pytest.mark.parametrize(
    ("written", "read"),
    [("394000000", "394000000"), ("3.88777472E8", "388777472"), (".5", "0.5"), ("-1.50", "-1.50"), ("+7.", "7")],
)
def test_a_number_is_exact(written: str, read: str) -> None:
    assert values.decimal(written) == Decimal(read)


@pytest.mark.parametrize("written", ["370 MBq", "3,7", "NaN", "Infinity", "1e", "0x10", "--1", "1E5000", "1" * 40, "١٢"])
def test_what_is_no_number_is_refused(written: str) -> None:
    with pytest.raises(Invalid, match="is not a number"):
        values.decimal(written)


@pytest.mark.parametrize("written", ["1E400", "1E-400"])
def test_a_number_of_impossible_size_is_refused(written: str) -> None:
    with pytest.raises(Invalid, match="impossible size"):
        values.decimal(written)


@pytest.mark.parametrize("written", ["1.2.x", "1..2", ".1", "1.", "1" * 65, ""])
def test_what_is_no_uid_is_refused(written: str) -> None:
    with pytest.raises(Invalid, match="is not a UID"):
        values.uid(written)


@pytest.mark.parametrize(
    ("written", "is_legal"), [("1.02.3", False), ("01.2", False), ("1.2.00", False), ("1.0.20", True), ("0", True)]
)
def test_a_uid_with_leading_zeros_is_read_as_it_stands_and_never_written(written: str, is_legal: bool) -> None:
    assert (values.uid(written), values.has_leading_zero(written)) == (written, not is_legal)
    if is_legal:
        assert values.legal_uid(written) == written
    else:
        with pytest.raises(Invalid, match="is not a UID"):
            values.legal_uid(written)


def test_a_name_is_split_into_its_parts() -> None:
    assert values.person_name("Adams^John Robert Quincy^^Rev.^B.A. M.Div.") == {
        "family": "Adams",
        "given": ["John", "Robert", "Quincy"],
        "prefix": ["Rev."],
        "suffix": ["B.A. M.Div."],
        "text": "Rev. John Robert Quincy Adams B.A. M.Div.",
    }


def test_a_name_with_only_an_ideographic_group_is_that_name() -> None:
    assert values.person_name("=山田^太郎") == {"family": "山田", "given": ["太郎"], "text": "太郎 山田"}


@pytest.mark.parametrize("written", ["^^^^", "=", "^=^"])
def test_a_name_of_separators_is_empty(written: str) -> None:
    with pytest.raises(Invalid, match="is an empty name"):
        values.person_name(written)


def test_control_characters_never_reach_fhir() -> None:
    assert values.text("WB\x00 CT\x1bAC\r\nnext") == "WB CTAC\nnext"
    with pytest.raises(Invalid):
        values.text("\x01\x02")
