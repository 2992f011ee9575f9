"""Series for the benchmarks, of invented patients: PET slices of about 58 kB and CT slices of about 525 kB."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from gateway.workbench.phantom import FloatArray, Grid
from gateway.workbench.sample import PET_PIXEL_MM, PET_PIXELS, write_part10
from gateway.workbench.sample_case import Case
from gateway.workbench.sample_images import ct_slices, pet_slices
from tests.builders import CASE

CT_PIXELS, CT_PIXEL_MM = 512, 0.9765625


def make_slices(directory: Path, count: int, *, seed: int = 9100) -> list[Path]:
    """Write ``count`` PET slices into ``directory``; slices that are there already are kept. Another ``seed``: another study."""
    return _make(directory, count, seed, PET_PIXELS, PET_PIXEL_MM, pet_slices)


def make_ct_slices(directory: Path, count: int) -> list[Path]:
    """The same of CT: 512 x 512 pixels of two bytes."""
    return _make(directory, count, 9300, CT_PIXELS, CT_PIXEL_MM, ct_slices)


def _make(
    directory: Path,
    count: int,
    seed: int,
    pixels: int,
    pixel_mm: float,
    slices_of: Callable[[Case, Grid, FloatArray], Iterator[Dataset]],
) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{number:04d}.dcm" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    case = dataclasses.replace(CASE, slices=count, seed=seed)
    grid = Grid(slices=count, pixels=pixels, pixel_mm=pixel_mm)
    values = np.random.default_rng(1).random((pixels, pixels), dtype=np.float32)
    volume = np.broadcast_to(values, (count, pixels, pixels))
    for path, dataset in zip(paths, slices_of(case, grid, volume), strict=True):
        write_part10(dataset, path)
    return paths
