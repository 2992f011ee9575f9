"""Small pictures: projections for emission tomography, inverse grey, right way up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from gateway.web.thumbnail import CannotBeShown, picture
from tests.builders import ct, nm, pet, rrdsr, uid, write


def slices(directory: Path, hot: int, *, feet_first: bool = False) -> list[Path]:
    """Eight PET slices 5 mm apart, the lowest first (or last); slice ``hot``, counted from the feet, holds activity."""
    paths = []
    for number in range(8):
        pixels = np.zeros((8, 8), np.uint16)
        pixels[4, 2] = 1000 if number == hot else 1
        position = [-14, -14, 5.0 * number]
        dataset = pet(
            SOPInstanceUID=uid(f"s{number}"), ImagePositionPatient=position, PixelData=pixels.tobytes(), InstanceNumber=number
        )
        paths.append(write(dataset, directory / f"{number}.dcm"))
    return paths[::-1] if feet_first else paths


@pytest.mark.parametrize("feet_first", [False, True])
def test_a_projection_has_the_head_on_top_whatever_the_order_of_the_files(tmp_path: Path, feet_first: bool) -> None:
    image = np.asarray(picture(slices(tmp_path, hot=7, feet_first=feet_first), "PT"), np.float32)
    row, column = np.unravel_index(image.argmin(), image.shape)
    assert row < image.shape[0] / 4, "the uppermost slice is the first row"
    assert column < image.shape[1] / 2
    assert image.max() == 255, "where nothing is it is white"


def test_pixels_are_as_high_as_the_slices_are_apart(tmp_path: Path) -> None:
    image = picture(slices(tmp_path, hot=3), "PT")
    spacing = float(pet().PixelSpacing[1])
    assert image.height / image.width == pytest.approx(8 * 5.0 / (8 * spacing), rel=0.05)


def test_planar_and_ct_images_are_shown_too(tmp_path: Path) -> None:
    for dataset, modality in ((nm(), "NM"), (ct(), "CT"), (nm(RescaleSlope=None), "NM")):
        path = write(dataset, tmp_path / "one.dcm")
        assert picture([path], modality).width > 1


def refused(dataset: Dataset, directory: Path) -> None:
    with pytest.raises(CannotBeShown):
        picture([write(dataset, directory / "x.dcm")], str(dataset.Modality))


def test_no_pixels_and_a_bomb_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    refused(rrdsr(), tmp_path)
    refused(ct(Rows=65535, Columns=65535), tmp_path)
    refused(nm(NumberOfFrames=2**31 - 1), tmp_path)
