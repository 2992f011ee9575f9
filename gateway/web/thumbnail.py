"""One small picture of one series, made in a process of its own: ``python -m gateway.web.thumbnail`` reads a job from stdin.

Pixels come from strangers, so the process that decodes them has little memory, little time and nothing else to lose. PET and
reconstructed SPECT become a coronal maximum intensity projection in inverse grey, as nuclear medicine reads it; planar images inverse
grey; everything else its middle slice in its own window. Ends with 3 when the pixels cannot be shown.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

Grey = NDArray[np.float32]

WIDTH_PX, HEIGHT_PX = 240, 320
MEMORY_BYTES = 1536 * 1024 * 1024
CPU_SECS = 20
MOST_SLICES = 400
MOST_PIXELS = 64 * 1024 * 1024
NICENESS = 15
CANNOT_BE_SHOWN = 3

#: Of the values above zero in a projection: what is darker than this share is drawn black.
_BLACK_AT_PERCENTILE = 98.0
#: Noise outside the body stays white: this share of what is drawn black.
_WHITE_BELOW = 0.04


class CannotBeShown(ValueError):
    """These objects have no pixels that a small picture could show."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of a coronal projection: the maximum along the patient's depth, where it lies (mm, feet to head), and its pixel size."""

    height_mm: float
    values: Grey
    pixel_mm: float


def picture(paths: Sequence[Path], modality: str) -> Image.Image:
    """The picture of a series. Raises :class:`CannotBeShown`, and whatever pydicom raises for pixels it cannot decode."""
    if modality == "PT" or (modality == "NM" and _is_tomography(paths[0])):
        return _projection(paths)
    dataset = _read(paths[len(paths) // 2], pixels=True)
    frames = _frames(dataset)
    if modality == "NM":
        planar = (
            frames[0] if "WHOLE BODY" in _image_type(dataset) or frames.shape[0] == 1 else frames.sum(axis=0, dtype=np.float32)
        )
        return _fit(_inverse(planar), 1.0)
    if dataset.get("SamplesPerPixel", 1) == 3:
        return _fit(Image.fromarray(_colour(dataset)), 1.0)
    return _fit(_windowed(frames[frames.shape[0] // 2], dataset), _aspect(dataset))


def _read(path: Path, *, pixels: bool) -> Dataset:
    dataset = dcmread(path, stop_before_pixels=not pixels, force=True)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    size = rows * columns * int(dataset.get("NumberOfFrames") or 1) * int(dataset.get("SamplesPerPixel") or 1)
    if not 0 < size <= MOST_PIXELS:
        raise CannotBeShown("no pixels, or too many")
    return dataset


def _frames(dataset: Dataset) -> Grey:
    """Grey frames, rescaled, as (frame, row, column)."""
    if dataset.get("SamplesPerPixel", 1) == 3:
        return np.zeros((1, 1, 1), np.float32)
    array = np.asarray(dataset.pixel_array, np.float32)
    slope, intercept = _first(dataset.get("RescaleSlope")), _first(dataset.get("RescaleIntercept"))
    rescaled = array * np.float32(slope or 1.0) + np.float32(intercept or 0.0)
    return rescaled.reshape(-1, array.shape[-2], array.shape[-1])


def _colour(dataset: Dataset) -> NDArray[np.uint8]:
    array = dataset.pixel_array
    if array.ndim == 4:
        array = array[array.shape[0] // 2]
    return np.ascontiguousarray(array >> max(0, int(dataset.BitsStored) - 8)).astype(np.uint8)


def _image_type(dataset: Dataset) -> str:
    return "\\".join(str(word) for word in dataset.get("ImageType") or ())


def _is_tomography(path: Path) -> bool:
    dataset = _read(path, pixels=False)
    return "RECON" in _image_type(dataset) and int(dataset.get("NumberOfFrames") or 1) > 8


def _projection(paths: Sequence[Path]) -> Image.Image:
    step = max(1, len(paths) // MOST_SLICES)
    lines = [line for path in paths[::step] for line in _lines(_read(path, pixels=True))]
    widths = {line.values.size for line in lines}
    if len(lines) < 4 or len(widths) != 1:
        return _slice(paths)
    at: dict[float, Grey] = {}
    for line in lines:  # frames of a dynamic series lie at the same height
        height = round(line.height_mm, 1)
        at[height] = np.maximum(at[height], line.values) if height in at else line.values
    heights = sorted(at, reverse=True)
    if len(heights) < 4:
        return _slice(paths)
    spacing_mm = float(np.median(-np.diff(heights))) or 1.0
    coronal = np.stack([at[height] for height in heights])
    return _fit(_inverse(coronal), spacing_mm / (lines[0].pixel_mm or spacing_mm))


def _slice(paths: Sequence[Path]) -> Image.Image:
    dataset = _read(paths[len(paths) // 2], pixels=True)
    frames = _frames(dataset)
    return _fit(_inverse(frames[frames.shape[0] // 2]), _aspect(dataset))


def _lines(dataset: Dataset) -> list[_Line]:
    """The rows that one object adds to a coronal projection: one for a slice, one for each frame of a volume."""
    frames = _frames(dataset)
    spacing = dataset.get("PixelSpacing") or (1, 1)
    start_mm, step_mm = _heights(dataset)
    return [_Line(start_mm + number * step_mm, frame.max(axis=0), float(spacing[1])) for number, frame in enumerate(frames)]


def _heights(dataset: Dataset) -> tuple[float, float]:
    """Height of the first frame and step between frames, in mm towards the head (PS3.3 C.7.6.2.1.1)."""
    detector = (dataset.get("DetectorInformationSequence") or [Dataset()])[0]
    position = dataset.get("ImagePositionPatient") or detector.get("ImagePositionPatient")
    orientation = dataset.get("ImageOrientationPatient") or detector.get("ImageOrientationPatient") or [1, 0, 0, 0, 1, 0]
    normal = np.cross(np.asarray(orientation[:3], float), np.asarray(orientation[3:], float))
    if abs(normal[2]) < 0.8:
        raise CannotBeShown("not axial")
    thickness = float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1)
    start = float(position[2]) if position else -float(dataset.get("InstanceNumber") or 0) * abs(thickness)
    return start, thickness * (1.0 if normal[2] > 0 else -1.0) if position else -abs(thickness)


def _aspect(dataset: Dataset) -> float:
    """Height of a pixel relative to its width."""
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing") or (1, 1)
    return float(spacing[0]) / float(spacing[1]) if float(spacing[1]) else 1.0


def _inverse(values: Grey) -> Image.Image:
    """Nothing is white, much is black."""
    positive = values[values > 0]
    top = float(np.percentile(positive, _BLACK_AT_PERCENTILE)) if positive.size else 1.0
    floor = _WHITE_BELOW * top
    scaled = np.clip((values - floor) / ((top - floor) or 1.0), 0.0, 1.0) ** 0.8
    return Image.fromarray((255 - scaled * 255).astype(np.uint8))


def _windowed(values: Grey, dataset: Dataset) -> Image.Image:
    """In the window that the header proposes (PS3.3 C.11.2.1.2), else between the outer percentiles."""
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is not None and width and width > 1:
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = (float(edge) for edge in np.percentile(values, (1, 99)))
    scaled = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 1.0 - scaled
    return Image.fromarray((scaled * 255).astype(np.uint8))


def _first(value: Any) -> float | None:
    """The first of one or several numbers."""
    if value in (None, ""):
        return None
    return float(value) if isinstance(value, (int, float, str)) else float(value[0])


def _fit(image: Image.Image, aspect: float) -> Image.Image:
    """Within the size of a thumbnail; ``aspect`` is the height of a pixel relative to its width."""
    width, height = image.width, max(1, round(image.height * min(max(aspect, 0.05), 20.0)))
    scale = min(WIDTH_PX / width, HEIGHT_PX / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def main() -> int:
    """Read ``{"paths": [...], "modality": "PT", "out": "x.png"}`` from stdin, write the picture."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECS, CPU_SECS))
    os.nice(NICENESS)
    warnings.simplefilter("ignore")
    job = json.load(sys.stdin)
    try:
        image = picture([Path(path) for path in job["paths"]], job["modality"])
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError, NotImplementedError, OSError, MemoryError):
        return CANNOT_BE_SHOWN
    image.save(job["out"], format="PNG", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
