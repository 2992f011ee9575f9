"""A thousand PET slices of about 58 kB, made for the benchmarks: one series of an invented patient."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from gateway.workbench.phantom import Grid
from gateway.workbench.sample import PET_PIXEL_MM, PET_PIXELS, write_part10
from gateway.workbench.sample_images import pet_slices
from tests.builders import CASE


def make_slices(directory: Path, count: int) -> list[Path]:
    """Write ``count`` slices into ``directory``; slices that are there already are kept."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{number:04d}.dcm" for number in range(count)]
    if all(path.exists() for path in paths):
        return paths
    case = dataclasses.replace(CASE, slices=count, seed=9100)
    grid = Grid(slices=count, pixels=PET_PIXELS, pixel_mm=PET_PIXEL_MM)
    uptake = np.random.default_rng(1).random((PET_PIXELS, PET_PIXELS), dtype=np.float32)
    volume = np.broadcast_to(uptake, (count, PET_PIXELS, PET_PIXELS))
    for path, dataset in zip(paths, pet_slices(case, grid, volume), strict=True):
        write_part10(dataset, path)
    return paths
