"""A numerical phantom: shapes painted on a voxel grid, blurred and made noisy as a scanner would. No DICOM, no files.

The sample studies are made from it; :mod:`gateway.workbench.anatomy` says which organ lies where.

Coordinates are millimetres in the patient: ``x`` grows to the left hand, ``y`` to the back (DICOM PS3.3 C.7.6.2.1.1) and
``depth`` from the chin downwards, because a body is easiest to describe from the top. Arms are raised, as in the scanner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

#: Length of the imaged body, chin to upper thighs, in mm.
TORSO_MM = 720.0

FloatArray: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]
Labels: TypeAlias = npt.NDArray[np.uint8]
TissueT = TypeVar("TissueT", bound=int)
Point: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A regular voxel grid centred on the body axis; slice 0 is at the chin."""

    slices: int
    pixels: int  #: per row and per column
    pixel_mm: float

    @property
    def slice_mm(self) -> float:
        return TORSO_MM / self.slices

    @property
    def first_pixel_mm(self) -> float:
        """``x`` and ``y`` of the centre of the first pixel."""
        return -(self.pixels - 1) / 2 * self.pixel_mm

    def axes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """``x``, ``y`` and ``depth`` of the voxel centres, shaped so that they broadcast to (slice, row, column)."""
        across = (self.first_pixel_mm + np.arange(self.pixels) * self.pixel_mm).astype(np.float32)
        depth = ((np.arange(self.slices) + 0.5) * self.slice_mm).astype(np.float32)
        return across[None, None, :], across[None, :, None], depth[:, None, None]


class Shape(Protocol):
    """A region of the body."""

    def box(self) -> tuple[Point, Point]:
        """Lowest and highest ``(x, y, depth)`` that can lie inside: only that part of the grid is computed."""

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        """Which voxels lie inside."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """``hollow`` cuts out the concentric ellipsoid of that fraction of the size."""

    centre: Point
    radii: Point
    hollow: float = 0.0

    def box(self) -> tuple[Point, Point]:
        (x, y, depth), (rx, ry, rd) = self.centre, self.radii
        return (x - rx, y - ry, depth - rd), (x + rx, y + ry, depth + rd)

    def mirrored(self) -> Ellipsoid:
        """The same on the other side of the body."""
        x, y, depth = self.centre
        return Ellipsoid((-x, y, depth), self.radii, self.hollow)

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        (cx, cy, cd), (rx, ry, rd) = self.centre, self.radii
        radius = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((depth - cd) / rd) ** 2
        return np.asarray((radius <= 1.0) & (radius >= self.hollow**2), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Tube:
    """A capsule: all points within ``radius`` of the line from ``start`` to ``end``."""

    start: Point
    end: Point
    radius: float

    def box(self) -> tuple[Point, Point]:
        low = tuple(min(a, b) - self.radius for a, b in zip(self.start, self.end, strict=True))
        high = tuple(max(a, b) + self.radius for a, b in zip(self.start, self.end, strict=True))
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def mirrored(self) -> Tube:
        """The same on the other side of the body."""
        (ax, ay, ad), (bx, by, bd) = self.start, self.end
        return Tube((-ax, ay, ad), (-bx, by, bd), self.radius)

    def inside(self, x: FloatArray, y: FloatArray, depth: FloatArray) -> Mask:
        along = [b - a for a, b in zip(self.start, self.end, strict=True)]
        length_squared = sum(step * step for step in along) or 1.0
        offset = (x - self.start[0], y - self.start[1], depth - self.start[2])
        position = sum(part * step for part, step in zip(offset, along, strict=True)) / length_squared
        nearest = np.clip(position, 0.0, 1.0)
        gap = sum((part - nearest * step) ** 2 for part, step in zip(offset, along, strict=True))
        return np.asarray(gap <= self.radius**2, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Part:
    """One brush stroke: this tissue fills this shape."""

    tissue: int
    shape: Shape


def paint(grid: Grid, parts: Iterable[Part]) -> Labels:
    """Fill the grid with the parts in order; what no part covers stays 0. Shape (slice, row, column)."""
    axes = grid.axes()
    labels = np.zeros((grid.slices, grid.pixels, grid.pixels), dtype=np.uint8)
    for part in parts:
        low, high = part.shape.box()
        window = [_window(axis.ravel(), a, b) for axis, a, b in zip(axes, low, high, strict=True)]
        x, y, depth = (
            axes[0][:, :, window[0]],
            axes[1][:, window[1], :],
            axes[2][window[2], :, :],
        )
        labels[window[2], window[1], window[0]][part.shape.inside(x, y, depth)] = part.tissue
    return labels


def _window(axis: FloatArray, low: float, high: float) -> slice:
    return slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high, side="right")))


def look_up(labels: Labels, values: Mapping[TissueT, float]) -> FloatArray:
    """The value of each voxel's tissue; a tissue without a value counts as 0."""
    table = np.zeros(256, dtype=np.float32)
    for tissue, value in values.items():
        table[int(tissue)] = value
    return table[labels]


def smooth(volume: FloatArray, sigmas_voxels: Sequence[float]) -> FloatArray:
    """Gaussian blur, one standard deviation in voxels per axis; the edge is repeated outwards."""
    for axis, sigma in enumerate(sigmas_voxels):
        if sigma > 0:
            volume = _smooth_axis(volume, sigma, axis)
    return volume


def _smooth_axis(volume: FloatArray, sigma: float, axis: int) -> FloatArray:
    reach = max(1, round(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    edges = [(reach, reach) if index == axis else (0, 0) for index in range(volume.ndim)]
    padded = np.pad(volume, edges, mode="edge")
    blurred = np.zeros_like(volume)
    for offset, weight in enumerate(weights):
        part = [slice(offset, offset + volume.shape[axis]) if index == axis else slice(None) for index in range(volume.ndim)]
        blurred += np.float32(weight) * padded[tuple(part)]
    return blurred


def pet_volume(grid: Grid, parts: Iterable[Part], suv: Mapping[TissueT, float], *, seed: int, noise: float = 0.45) -> FloatArray:
    """Uptake in SUV (g/ml) as a scanner would show it: counting noise, then a point spread of about 6 mm full width.

    The noise grows with the square root of the signal, as counts do; ``noise`` is its standard deviation at SUV 1 before
    smoothing.
    """
    uptake = smooth(look_up(paint(grid, parts), suv), _sigmas(grid, 3.4))
    counting = np.random.default_rng(seed).standard_normal(uptake.shape, dtype=np.float32)
    noisy = uptake + np.float32(noise) * np.sqrt(uptake + np.float32(0.02)) * counting
    return np.maximum(smooth(noisy, _sigmas(grid, 2.6)), 0)


def ct_volume(
    grid: Grid, parts: Iterable[Part], hounsfield: Mapping[TissueT, float], *, seed: int, noise_hu: float = 16.0
) -> FloatArray:
    """Hounsfield units of a low-dose CT: slightly soft edges, even noise."""
    density = smooth(look_up(paint(grid, parts), hounsfield), (0.0, 0.6, 0.6))
    grain = np.random.default_rng(seed).standard_normal(density.shape, dtype=np.float32)
    return np.asarray(density + np.float32(noise_hu) * grain, dtype=np.float32)


def _sigmas(grid: Grid, sigma_mm: float) -> tuple[float, float, float]:
    return sigma_mm / grid.slice_mm, sigma_mm / grid.pixel_mm, sigma_mm / grid.pixel_mm
