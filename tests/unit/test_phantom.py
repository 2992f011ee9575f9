"""The phantom is a body: its organs lie where they should, in both pictures."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.workbench.anatomy import COUCH, FDG_LESIONS, FDG_SUV, HOUNSFIELD, ORGANS, Tissue
from gateway.workbench.phantom import Ellipsoid, Grid, Part, Tube, ct_volume, look_up, paint, pet_volume, smooth

GRID = Grid(slices=48, pixels=64, pixel_mm=8.0)


def test_later_parts_overwrite_earlier_ones() -> None:
    outer = Part(Tissue.SOFT, Ellipsoid((0, 0, 360), (100, 100, 100)))
    inner = Part(Tissue.LIVER, Ellipsoid((0, 0, 360), (40, 40, 40)))
    labels = paint(GRID, [outer, inner])
    assert labels[24, 32, 32] == Tissue.LIVER
    assert (labels == Tissue.SOFT).sum() > (labels == Tissue.LIVER).sum() > 0


def test_a_shape_never_paints_outside_its_box() -> None:
    tube = Tube((-100, 20, 200), (80, -30, 500), 25)
    low, high = tube.box()
    x, y, depth = GRID.axes()
    inside = np.argwhere(tube.inside(x, y, depth))
    millimetres = np.stack([x.ravel()[inside[:, 2]], y.ravel()[inside[:, 1]], depth.ravel()[inside[:, 0]]], axis=1)
    assert (millimetres >= np.array(low) - 1e-3).all()
    assert (millimetres <= np.array(high) + 1e-3).all()


def test_a_mirrored_organ_is_as_large_as_its_twin() -> None:
    shape = Ellipsoid((60, 50, 440), (27, 25, 52))
    here, there = (paint(GRID, [Part(1, twin)]).sum() for twin in (shape, shape.mirrored()))
    assert here == there > 0


def test_blurring_keeps_the_total() -> None:
    volume = np.zeros((21, 21, 21), dtype=np.float32)
    volume[10, 10, 10] = 1000
    blurred = smooth(volume, (1.2, 1.2, 1.2))
    assert blurred.sum() == pytest.approx(1000, rel=1e-4)
    assert blurred.max() < 100


def test_every_tissue_of_the_body_has_a_density_and_every_density_is_plausible() -> None:
    used = {Tissue(part.tissue) for part in (*COUCH, *ORGANS, *FDG_LESIONS)}
    assert used <= set(HOUNSFIELD)
    assert all(-1000 <= value <= 3000 for value in HOUNSFIELD.values())


def test_bladder_and_lesions_outshine_the_liver_and_the_lungs_stay_dark() -> None:
    labels = paint(GRID, (*ORGANS, *FDG_LESIONS))
    uptake = pet_volume(GRID, (*ORGANS, *FDG_LESIONS), FDG_SUV, seed=1)
    liver, bladder, lung, lesion = (
        uptake[labels == t].mean() for t in (Tissue.LIVER, Tissue.BLADDER, Tissue.LUNG, Tissue.LESION)
    )
    assert bladder > 2 * liver > 4 * lung
    assert lesion > 1.5 * liver


def test_the_ct_shows_air_lung_soft_tissue_and_bone_in_that_order() -> None:
    labels = paint(GRID, ORGANS)
    density = ct_volume(GRID, ORGANS, HOUNSFIELD, seed=1)
    air, lung, liver, bone = (density[labels == t].mean() for t in (Tissue.AIR, Tissue.LUNG, Tissue.LIVER, Tissue.BONE))
    assert air < -900 < lung < -600 < 0 < liver < 100 < bone


def test_the_same_seed_gives_the_same_noise_and_another_seed_another() -> None:
    first, again, other = (pet_volume(GRID, ORGANS, FDG_SUV, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_tissue_without_a_value_counts_as_nothing() -> None:
    assert look_up(np.array([[Tissue.TABLE]], dtype=np.uint8), FDG_SUV)[0, 0] == 0
