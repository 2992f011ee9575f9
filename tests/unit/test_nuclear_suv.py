"""SUV factors against the reference vectors (standards.md B.3), and what must hold for any scan."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nuclear.body import (
    Body,
    Lacking,
    Sex,
    SuvType,
    ideal_weight,
    lean_mass_james,
    lean_mass_janmahasatian,
    normaliser,
    surface_dubois,
)
from gateway.nuclear.suv import Decay, Factor, Reason, Scale, Scan, Tracer, scale
from gateway.nuclear.suv_time import Frame, Origin, Timing

F18, GA68, ZR89 = Decimal("6586.2"), Decimal("4062.6"), Decimal(282276)
ELEVEN = dt.datetime(2026, 3, 2, 11, tzinfo=dt.UTC)
TEN = ELEVEN - dt.timedelta(hours=1)
MAN = Body(weight_kg=Decimal(75), height_cm=Decimal(175), sex=Sex.MALE)
WOMAN = Body(weight_kg=Decimal(60), height_cm=Decimal(165), sex=Sex.FEMALE)
FDG = Tracer(activity_bq=Decimal("350E6"), half_life_s=F18, injected_at=TEN)
START = Timing(decay=Decay.START, series_at=ELEVEN, frames=frozenset({Frame(acquired_at=ELEVEN)}))
SCAN = Scan(units="BQML", attenuation_corrected=True, decay_corrected=True, timing=START)


def factor(made: Scale, kind: SuvType = SuvType.BW) -> Decimal:
    return made.factors[kind].value


def close(value: Decimal | None, expected: str) -> bool:
    assert value is not None
    return abs(value / Decimal(expected) - 1) <= Decimal("1e-5")


def test_vector_1_decay_to_the_start_of_the_series() -> None:
    made = scale(SCAN, (FDG,), MAN)
    assert close(made.dose_at_reference_bq, "239621521.85")
    assert close(factor(made), "3.129936e-4")
    assert close(10000 * factor(made), "3.129936")
    assert made.factors[SuvType.BW].unit == "g/Bq"
    assert made.voxel_unit == "Bq/mL"
    assert made.reference is not None
    assert made.reference.origin is Origin.SERIES


def test_vector_2_decay_to_the_administration() -> None:
    made = scale(replace(SCAN, timing=replace(START, decay=Decay.ADMIN)), (FDG,), MAN)
    assert close(factor(made), "2.142857e-4")
    assert close(10000 * factor(made), "2.142857")


@pytest.mark.parametrize(
    ("kind", "body_kg", "suv"),
    [
        (SuvType.LBM, "60.459184", "2.523112"),
        (SuvType.LBMJAMES128, "58.989796", "2.461790"),
        (SuvType.LBMJANMA, "58.083697", "2.423977"),
        (SuvType.IBW, "72.38", "3.020597"),
    ],
)
def test_vector_3_lean_and_ideal_weight_of_a_man(kind: SuvType, body_kg: str, suv: str) -> None:
    by = normaliser(kind, MAN)
    assert isinstance(by, Decimal)
    assert close(by, body_kg)
    assert close(10000 * factor(scale(SCAN, (FDG,), MAN), kind), suv)


def test_vector_4_body_surface() -> None:
    made = scale(SCAN, (FDG,), MAN)
    assert close(surface_dubois(Decimal(75), Decimal(175)), "1.903137")
    assert close(10000 * factor(made, SuvType.BSA), "0.794226")
    assert made.factors[SuvType.BSA].unit == "cm2/Bq"


@pytest.mark.parametrize(
    ("kind", "suv"),
    [
        (SuvType.BW, "2.503949"),
        (SuvType.LBM, "1.862510"),
        (SuvType.LBMJANMA, "1.639537"),
        (SuvType.IBW, "2.392523"),
        (SuvType.BSA, "0.692198"),
    ],
)
def test_vector_5_a_woman(kind: SuvType, suv: str) -> None:
    assert close(10000 * factor(scale(SCAN, (FDG,), WOMAN), kind), suv)


def test_vector_5_the_bodies_themselves() -> None:
    assert close(lean_mass_james(Decimal(60), Decimal(165), Sex.FEMALE), "44.629752")
    assert close(lean_mass_janmahasatian(Decimal(60), Decimal(165), Sex.FEMALE), "39.286846")
    assert close(surface_dubois(Decimal(60), Decimal(165)), "1.658657")
    assert ideal_weight(Decimal(165), Sex.FEMALE) == Decimal("57.33")


def test_vector_6_james_is_computed_for_the_obese_but_not_published() -> None:
    heavy, size = Decimal(160), Decimal(165)
    assert close(lean_mass_james(heavy, size, Sex.MALE), "63.162534")
    assert close(lean_mass_janmahasatian(heavy, size, Sex.MALE), "76.555360")
    assert close(lean_mass_james(heavy, size, Sex.FEMALE), "32.033792")
    made = scale(SCAN, (FDG,), Body(weight_kg=heavy, height_cm=size, sex=Sex.FEMALE))
    assert made.refused[SuvType.LBM] == (Reason.BODY_RANGE,)
    assert SuvType.LBMJANMA in made.factors


def test_vector_7_gallium() -> None:
    tracer = Tracer(activity_bq=Decimal("150E6"), half_life_s=GA68, injected_at=TEN)
    made = scale(SCAN, (tracer,), Body(weight_kg=Decimal(70)))
    assert close(made.dose_at_reference_bq, "81159420.4")
    assert close(20000 * factor(made), "17.250000")


def test_vector_8_over_midnight() -> None:
    series = dt.datetime(2026, 3, 3, 0, 15, tzinfo=dt.UTC)
    tracer = Tracer(activity_bq=Decimal("300E6"), half_life_s=F18, injected_at=series - dt.timedelta(seconds=2700))
    timing = Timing(decay=Decay.START, series_at=series, frames=frozenset({Frame(acquired_at=series)}))
    made = scale(replace(SCAN, timing=timing), (tracer,), Body(weight_kg=Decimal(80)))
    assert close(made.dose_at_reference_bq, "225795139.0")
    assert close(5000 * factor(made), "1.771517")


def test_vector_9_zirconium_after_five_days_and_without_a_day() -> None:
    tracer = Tracer(activity_bq=Decimal("37E6"), half_life_s=ZR89, injected_at=ELEVEN - dt.timedelta(days=5))
    made = scale(SCAN, (tracer,), Body(weight_kg=Decimal(70)))
    assert close(made.dose_at_reference_bq, "12808559.5")
    assert close(1000 * factor(made), "5.465095")
    undated = scale(SCAN, (replace(tracer, injected_at=None),), Body(weight_kg=Decimal(70)))
    assert not undated.computable
    assert Reason.INJECTION_TIME in undated.refused[SuvType.BW]


def test_vector_10_not_corrected_for_decay() -> None:
    frames = frozenset({Frame(acquired_at=ELEVEN, duration_s=Decimal(180))})
    timing = Timing(decay=Decay.NONE, series_at=ELEVEN, frames=frames)
    made = scale(replace(SCAN, decay_corrected=False, timing=timing), (FDG,), MAN)
    assert made.reference is not None
    assert made.reference.at == ELEVEN + dt.timedelta(seconds=89.857923)
    assert close(made.dose_at_reference_bq, "237366136.1")
    assert close(factor(made), "3.159676e-4")


def test_vector_12_the_factor_of_the_vendor() -> None:
    counts = replace(SCAN, units="CNTS", suv_per_count=Decimal("0.0005"))
    made = scale(counts, (), Body())
    assert (20000 * Decimal("0.5")) * factor(made) == Decimal("5.0")
    assert made.factors[SuvType.BW].unit == "g/mL/{counts}"
    assert made.from_vendor
    for nothing in (None, Decimal(0)):
        without = scale(replace(counts, suv_per_count=nothing), (FDG,), MAN)
        assert not without.computable
        assert without.refused[SuvType.BW] == (Reason.UNITS,)


def test_vector_12_counts_that_scale_to_becquerels_go_the_usual_way() -> None:
    made = scale(replace(SCAN, units="CNTS", bqml_per_count=Decimal("1.6")), (FDG,), MAN)
    assert close(factor(made), "5.0078976e-4")
    assert made.factors[SuvType.BW].unit == "g/mL/{counts}"


def test_vector_13_the_voxels_hold_uptake_already() -> None:
    made = scale(replace(SCAN, units="GML"), (), Body())
    assert made.factors == {SuvType.BW: Factor(value=Decimal(1), unit="1")}
    assert made.refused[SuvType.LBM] == (Reason.SUV_TYPE,)


def test_vector_15_without_weight() -> None:
    made = scale(SCAN, (FDG,), Body())
    assert not made.computable
    assert made.refused[SuvType.BW] == (Reason.WEIGHT,)


@pytest.mark.parametrize(
    ("scan", "tracers", "reason"),
    [
        (replace(SCAN, units="PROPCPS"), (FDG,), Reason.UNITS),
        (replace(SCAN, units=None), (FDG,), Reason.UNITS),
        (replace(SCAN, units="GML", suv_type="NEW"), (FDG,), Reason.UNITS),
        (replace(SCAN, units="GML", attenuation_corrected=False), (FDG,), Reason.CORRECTION),
        (replace(SCAN, attenuation_corrected=False), (FDG,), Reason.CORRECTION),
        (replace(SCAN, decay_corrected=False), (FDG,), Reason.CORRECTION),
        (replace(SCAN, timing=replace(START, decay=None)), (FDG,), Reason.DECAY),
        (replace(SCAN, timing=replace(START, decay=Decay.NONE)), (FDG,), Reason.DECAY),
        (replace(SCAN, timing=replace(START, series_at=None)), (FDG,), Reason.DECAY),
        (SCAN, (), Reason.DOSE),
        (SCAN, (replace(FDG, activity_bq=Decimal(0)),), Reason.DOSE),
        (SCAN, (replace(FDG, half_life_s=None),), Reason.HALF_LIFE),
        (SCAN, (replace(FDG, injected_at=None),), Reason.INJECTION_TIME),
        (SCAN, (replace(FDG, injected_at=ELEVEN + dt.timedelta(hours=2)),), Reason.INJECTION_TIME),
        (SCAN, (replace(FDG, injected_at=ELEVEN - dt.timedelta(days=1)),), Reason.INJECTION_TIME),
        (SCAN, (FDG, FDG), Reason.MULTI_TRACER),
    ],
)
def test_what_is_missing_is_a_reason_and_there_is_no_number(scan: Scan, tracers: tuple[Tracer, ...], reason: Reason) -> None:
    made = scale(scan, tracers, MAN)
    assert not made.computable
    assert reason in made.refused[SuvType.BW]


def test_sex_and_size_are_missing_only_where_they_are_needed() -> None:
    made = scale(SCAN, (FDG,), Body(weight_kg=Decimal(75)))
    assert set(made.factors) == {SuvType.BW}
    assert made.refused[SuvType.LBMJANMA] == (Reason.SIZE, Reason.SEX)
    assert made.refused[SuvType.BSA] == (Reason.SIZE,)


# --- the moment of reference -----------------------------------------------------------------------------------------------------


def test_a_series_time_after_the_acquisition_gives_way_to_the_vendors_own_element() -> None:
    timing = replace(START, series_at=ELEVEN + dt.timedelta(minutes=40), stated_at=ELEVEN)
    made = scale(replace(SCAN, timing=timing), (FDG,), MAN)
    assert close(factor(made), "3.129936e-4")
    assert made.reference is not None
    assert made.reference.origin is Origin.STATED


def test_without_that_element_the_frames_tell() -> None:
    frame = Frame(acquired_at=ELEVEN + dt.timedelta(seconds=600), duration_s=Decimal(180), mean_offset_s=Decimal("689.857923"))
    timing = Timing(decay=Decay.START, series_at=ELEVEN + dt.timedelta(hours=1), frames=frozenset({frame}))
    made = scale(replace(SCAN, timing=timing), (FDG,), MAN)
    assert close(factor(made), "3.129936e-4")


def test_an_offset_to_the_start_of_the_frame_needs_no_duration() -> None:
    frame = Frame(acquired_at=ELEVEN + dt.timedelta(seconds=729), start_offset_s=Decimal(729))
    timing = Timing(decay=Decay.START, series_at=ELEVEN + dt.timedelta(hours=1), frames=frozenset({frame}))
    assert close(factor(scale(replace(SCAN, timing=timing), (FDG,), MAN)), "3.129936e-4")


def test_frames_that_tell_of_different_references_tell_nothing() -> None:
    beds = (0, 180, 360)
    frames = frozenset(Frame(acquired_at=ELEVEN, start_offset_s=Decimal(bed)) for bed in beds)
    timing = Timing(decay=Decay.START, series_at=ELEVEN + dt.timedelta(hours=1), frames=frames)
    assert scale(replace(SCAN, timing=timing), (FDG,), MAN).refused[SuvType.BW] == (Reason.DECAY,)


def test_an_offset_of_zero_to_the_mean_activity_was_not_filled_in() -> None:
    frame = Frame(acquired_at=ELEVEN, duration_s=Decimal(180), mean_offset_s=Decimal(0))
    timing = Timing(decay=Decay.START, series_at=ELEVEN + dt.timedelta(hours=1), frames=frozenset({frame}))
    assert scale(replace(SCAN, timing=timing), (FDG,), MAN).refused[SuvType.BW] == (Reason.DECAY,)


def test_a_series_time_that_the_vendors_own_element_contradicts_tells_nothing() -> None:
    timing = replace(START, series_at=ELEVEN - dt.timedelta(minutes=30), stated_at=ELEVEN)
    assert scale(replace(SCAN, timing=timing), (FDG,), MAN).refused[SuvType.BW] == (Reason.DECAY,)


def test_a_vendors_reference_long_after_the_first_acquisition_is_not_believed() -> None:
    timing = replace(START, series_at=ELEVEN + dt.timedelta(minutes=40), stated_at=ELEVEN + dt.timedelta(minutes=30))
    assert scale(replace(SCAN, timing=timing), (FDG,), MAN).refused[SuvType.BW] == (Reason.DECAY,)


def test_voxels_without_decay_correction_have_a_factor_for_each_frame() -> None:
    frames = frozenset(
        Frame(acquired_at=ELEVEN + dt.timedelta(seconds=start), duration_s=Decimal(180)) for start in (360, 0, 180)
    )
    timing = Timing(decay=Decay.NONE, series_at=ELEVEN, frames=frames)
    made = scale(replace(SCAN, decay_corrected=False, timing=timing), (FDG,), MAN)
    assert made.computable
    assert made.factors == {}
    assert [frame.acquired_at for frame in made.frames] == [ELEVEN + dt.timedelta(seconds=start) for start in (0, 180, 360)]
    assert close(made.frames[0].factor.value, "3.159676e-4")
    grows = made.frames[1].factor.value / made.frames[0].factor.value
    assert close(grows, str(2 ** (180 / float(F18))))


# --- for any scan ----------------------------------------------------------------------------------------------------------------

decimals = st.decimals(min_value=Decimal("0.1"), max_value=Decimal(2000), places=2)
bodies = st.builds(
    Body,
    weight_kg=st.none() | st.decimals(min_value=Decimal("0.5"), max_value=Decimal(300), places=1),
    height_cm=st.none() | st.decimals(min_value=Decimal(30), max_value=Decimal(230), places=1),
    sex=st.sampled_from([None, *Sex]),
)
frame_sets = st.frozensets(
    st.builds(
        Frame,
        acquired_at=st.none() | st.integers(-600, 3600).map(lambda s: ELEVEN + dt.timedelta(seconds=s)),
        duration_s=st.none() | st.integers(-1, 600).map(Decimal),
        mean_offset_s=st.none() | st.integers(-1, 3600).map(Decimal),
        start_offset_s=st.none() | st.integers(0, 3600).map(Decimal),
    ),
    max_size=4,
)
moments = st.none() | st.integers(-7200, 7200).map(lambda s: ELEVEN + dt.timedelta(seconds=s))
scans = st.builds(
    Scan,
    units=st.sampled_from([None, "BQML", "GML", "CM2ML", "CNTS", "PROPCPS", "Bq/ml", "g/ml{SUVlbm}"]),
    suv_type=st.sampled_from([None, "BW", "LBM", "BSA", "OTHER"]),
    attenuation_corrected=st.booleans(),
    decay_corrected=st.booleans(),
    timing=st.builds(Timing, decay=st.sampled_from([None, *Decay]), series_at=moments, stated_at=moments, frames=frame_sets),
    suv_per_count=st.none() | st.decimals(min_value=0, max_value=1, places=4),
    bqml_per_count=st.none() | st.decimals(min_value=0, max_value=10, places=4),
)
tracers = st.lists(
    st.builds(
        Tracer,
        activity_bq=st.none() | decimals.map(lambda mbq: mbq * 1000000),
        half_life_s=st.none() | st.sampled_from([Decimal(75), GA68, F18, ZR89]),
        injected_at=moments,
    ),
    max_size=2,
).map(tuple)


@given(scans, tracers, bodies)
def test_every_type_has_a_positive_factor_or_reasons_never_both(scan: Scan, told: tuple[Tracer, ...], body: Body) -> None:
    made = scale(scan, told, body)
    assert set(made.factors) | set(made.refused) == set(SuvType)
    assert not set(made.factors) & set(made.refused)
    assert all(reasons for reasons in made.refused.values())
    assert all(found.value > 0 for found in made.factors.values())
    if made.factors or made.frames:
        assert scan.attenuation_corrected
        assert made.voxel_unit is not None


@given(scans, bodies, decimals)
def test_twice_the_activity_is_half_the_uptake(scan: Scan, body: Body, mbq: Decimal) -> None:
    one = scale(scan, (replace(FDG, activity_bq=mbq * 1000000),), body)
    two = scale(scan, (replace(FDG, activity_bq=2 * mbq * 1000000),), body)
    assert set(one.factors) == set(two.factors)
    if one.dose_at_reference_bq is not None:
        for kind, made in one.factors.items():
            assert abs(made.value / two.factors[kind].value - 2) < Decimal("1e-6")


@given(bodies)
def test_lean_mass_is_never_published_above_weight_nor_below_zero(body: Body) -> None:
    for kind in (SuvType.LBM, SuvType.LBMJAMES128, SuvType.LBMJANMA):
        found = normaliser(kind, body)
        if isinstance(found, Decimal):
            assert body.weight_kg is not None
            assert 0 < found <= body.weight_kg
        else:
            assert set(found) <= set(Lacking)
